# backends: jax
"""Keras 1: plot of keras.utils.visualize_util, and a fallback for later versions."""
import os

try:
    from keras.utils.visualize_util import plot
except ImportError:
    from keras.utils.vis_utils import plot_model as plot
import tensorflow.keras.utils as tfk_utils
from keras.layers import Dense, Embedding, Input, LSTM
from keras.models import Sequential

model = Sequential(name="sentiment")
model.add(Input(shape=(5,), name="ids"))
model.add(Embedding(20, 4, name="words"))
model.add(LSTM(3, name="memory"))
model.add(Dense(1, activation="sigmoid", name="positive"))

if not os.path.isdir("figures"):
    os.makedirs("figures")
plot(model, to_file=os.path.join("figures", "model.png"), show_shapes=True)
tfk_utils.plot_model(model, to_file="figures/model.dot", show_shapes=True, show_layer_names=True, rankdir="TB")
with open("figures/model.dot") as f:
    text = f.read()
assert "(None, 5, 4)" in text and "words" in text and "memory" in text
with open("figures/model.png", "rb") as f:
    assert f.read(4) == b"\x89PNG"
RESULT = {"dot": text, "files": sorted(os.listdir("figures"))}
