# backends: jax
"""vis_utils: the same module for plot_model and model_to_dot, with a model of two branches."""
from keras.layers import Concatenate, Dense, Input
from keras.models import Model
from keras.utils import vis_utils
from keras.utils.vis_utils import model_to_dot

a, b = Input(shape=(3,), name="age"), Input(shape=(2,), name="price")
merged = Concatenate(name="merge")([Dense(2, name="by_age")(a), Dense(2, name="by_price")(b)])
model = Model(inputs=[a, b], outputs=Dense(1, name="score")(merged), name="shop")
vis_utils.plot_model(model, to_file="model_plot.png", show_shapes=True, show_layer_names=True)
with open("model_plot.png", "rb") as image:
    assert image.read().startswith(b"\x89PNG")

dot = model_to_dot(model, show_shapes=True)
source = dot.to_string()
for layer in model.layers:
    assert layer.name in source, layer.name
assert source.lstrip().startswith("digraph") and source.count("->") == 5, source
RESULT = {"source": source, "edges": source.count("->")}
