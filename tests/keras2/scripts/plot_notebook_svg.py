# backends: jax torch tensorflow
"""What notebooks do: SVG(model_to_dot(model).create(prog="dot", format="svg"))."""
import keras
from keras.utils.vis_utils import model_to_dot

try:
    from IPython.display import SVG
except ImportError:

    class SVG(object):
        def __init__(self, data):
            self.data = data if isinstance(data, str) else data.decode("utf-8")


inputs = keras.layers.Input(shape=(4,), name="features")
hidden = keras.layers.Dense(3, activation="relu", name="hidden")(inputs)
model = keras.models.Model(inputs, keras.layers.Dense(1, name="answer")(hidden), name="net")
picture = SVG(model_to_dot(model, show_shapes=True, show_layer_names=True).create(prog="dot", format="svg"))
assert "<svg" in picture.data and "hidden" in picture.data and "answer" in picture.data
sideways = model_to_dot(model, rankdir="LR").create_svg(prog="dot")
assert b"<svg" in sideways and b"features" in sideways
model_to_dot(model).write_png("net.png")
with open("net.png", "rb") as f:
    signature = f.read(4)
assert signature[1:] == b"PNG"
RESULT = {"svg": picture.data, "sideways": sideways.decode("utf-8"), "signature": signature[1:].decode()}
