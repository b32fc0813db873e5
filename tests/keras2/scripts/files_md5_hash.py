# backends: jax torch tensorflow
"""get_file(md5_hash=): a damaged file in the cache is fetched again; validate_file and _hash_file."""
from __future__ import print_function

import hashlib
import os

import keras
import numpy as np
from keras.layers import Dense, Input
from keras.models import Sequential
from keras.utils.data_utils import _hash_file, get_file, validate_file

keras.utils.set_random_seed(73)
rng = np.random.RandomState(73)
np.savez("mnist-source.npz", x_train=rng.normal(size=(12, 3)), y_train=rng.randint(0, 2, size=12))
with open("mnist-source.npz", "rb") as f:
    md5 = hashlib.md5(f.read()).hexdigest()
origin = "file://" + os.path.abspath("mnist-source.npz")


def load_data(path="mnist.npz"):
    path = get_file(path, origin=origin, md5_hash=md5, cache_dir="./data", cache_subdir="mnist")
    f = np.load(path)
    x_train, y_train = f["x_train"], f["y_train"]
    f.close()
    return path, x_train, y_train


path, _, _ = load_data()
assert os.path.normpath(path) == os.path.join("data", "mnist", "mnist.npz"), path
assert validate_file(path, md5) and _hash_file(path, algorithm="md5") == md5
with open(path, "wb") as f:
    f.write(b"damaged")
assert not validate_file(path, md5, algorithm="md5")
path, x_train, y_train = load_data()
assert validate_file(path, md5)
model = Sequential([Input(shape=(3,)), Dense(2, activation="softmax")])
model.compile("sgd", "sparse_categorical_crossentropy")
history = model.fit(x_train, y_train, epochs=2, shuffle=False, verbose=0)
RESULT = {"x": x_train, "y": y_train, "loss": history.history["loss"], "name": os.path.basename(path)}
