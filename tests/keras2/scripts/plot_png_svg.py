# backends: jax torch tensorflow
"""plot_model to a PNG and an SVG file, with shapes and without."""
import os

from keras.layers import Conv2D, Dense, Flatten, Input
from keras.models import Sequential
from keras.utils import plot_model

model = Sequential(name="lenet")
model.add(Input(shape=(8, 8, 1)))
model.add(Conv2D(2, (3, 3), name="conv"))
model.add(Flatten(name="flat"))
model.add(Dense(10, activation="softmax", name="digits"))

plot_model(model, to_file="model.png")
plot_model(model, to_file="shapes.png", show_shapes=True, show_layer_names=True)
plot_model(model, "model.svg", True, False, "LR")
with open("model.png", "rb") as f:
    assert f.read(8) == b"\x89PNG\r\n\x1a\n"
assert os.path.getsize("shapes.png") > os.path.getsize("model.png")
with open("model.svg") as f:
    svg = f.read()
assert "<svg" in svg[:500]
assert "(None, 8, 8, 1)" in svg and "Conv2D" in svg and "digits" not in svg
RESULT = {"files": sorted(os.listdir(".")), "svg": svg}
