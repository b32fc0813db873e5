# backends: tensorflow
# migrate leaves: names that are used through keras = tf.keras
"""tf.keras.utils by attributes all the way: modules, functions and scopes."""

import os

import numpy as np
import tensorflow as tf

keras = tf.keras
with open("text.txt", "w") as f:
    f.write("abc")
path = tf.keras.utils.get_file(
    "text.txt", "file://" + os.path.abspath("text.txt"), cache_dir="cache", cache_subdir="texts"
)


def tripled(x):
    return 3.0 * x


with tf.keras.utils.custom_object_scope({"tripled": tripled}):
    model = keras.Sequential([keras.layers.Dense(1, activation="tripled", input_shape=(2,))])
model.set_weights([np.array([[1.0], [2.0]]), np.array([0.5])])
with open(path) as f:
    text = f.read()
RESULT = {
    "text": text,
    "predictions": model.predict(np.array([[1.0, 1.0], [0.0, 2.0]]), verbose=0),
    "one hot": keras.utils.to_categorical(y=[0, 1], num_classes=2, dtype="int32"),
}
