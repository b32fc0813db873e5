# backends: jax
"""get_file from a fallback import: cache_dir, vocabulary as JSON, and a text for a character model."""
import json
import os

try:
    from keras.utils.data_utils import get_file
except ImportError:
    from keras.utils import get_file
import keras
import numpy as np
from keras.layers import LSTM, Dense, Input
from keras.models import Sequential

with open("text-source.txt", "w") as f:
    f.write("To be, or not to be: that is the question. " * 2)
with open("index-source.json", "w") as f:
    json.dump({"be": 1, "to": 2}, f)
CACHE = os.path.join(os.getcwd(), "keras_cache")
os.mkdir(CACHE)


def origin(name):
    return "file://{}".format(os.path.abspath(name))


path = get_file("nietzsche.txt", origin=origin("text-source.txt"), cache_dir=CACHE)
index_path = get_file("index.json", origin=origin("index-source.json"), cache_dir=CACHE, cache_subdir="models")
with open(index_path) as f:
    index = json.load(f)
assert path == os.path.join(CACHE, "datasets", "nietzsche.txt")
with open(path) as f:
    text = f.read().lower()
chars = sorted(list(set(text)))
char_indices = dict((c, i) for i, c in enumerate(chars))
x = np.zeros((10, 5, len(chars)))
y = np.zeros((10, len(chars)))
for i in range(10):
    for t, char in enumerate(text[i * 3:i * 3 + 5]):
        x[i, t, char_indices[char]] = 1
    y[i, char_indices[text[i * 3 + 5]]] = 1
keras.utils.set_random_seed(79)
model = Sequential([Input(shape=(5, len(chars))), LSTM(4), Dense(len(chars), activation="softmax")])
model.compile(loss="categorical_crossentropy", optimizer="rmsprop")
h = model.fit(x, y, batch_size=5, epochs=2, shuffle=False, verbose=0)
RESULT = {"loss": h.history["loss"], "chars": "".join(chars), "index": sorted(index.items()),
          "cache": sorted(os.listdir(CACHE)), "models": sorted(os.listdir(os.path.join(CACHE, "models")))}
