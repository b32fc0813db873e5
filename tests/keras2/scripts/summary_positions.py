# backends: jax
"""line_length and positions of layer_utils.print_summary, in shares and in characters."""
from keras.layers import Dense, Input
from keras.models import Sequential
from keras.utils import layer_utils

model = Sequential([Input(shape=(3,)), Dense(5, name="first"), Dense(1, name="last")])
model.layers[0].trainable = False
wide, narrow = [], []
layer_utils.print_summary(model, line_length=100, positions=[0.3, 0.6, 1.0], print_fn=wide.append)
layer_utils.print_summary(model, 40, [16, 30, 40], narrow.append)
assert max(len(line) for line in wide) == 100
assert max(len(line) for line in narrow) == 40
row = next(line for line in narrow if line.startswith("first"))
assert row[16:].startswith("(None, 5)") and row[30:].startswith("20"), row
assert any("Non-trainable params: 20" in line for line in narrow)
RESULT = {"wide": wide, "narrow": narrow}
