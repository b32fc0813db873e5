# backends: jax torch tensorflow
"""layer_utils of a model with branches: the summary, source inputs and numbers of weights."""
import keras.utils.layer_utils
from keras.layers import Add, BatchNormalization, Dense, Input
from keras.models import Model

i = Input(shape=(4,), name="image")
a = Dense(4, name="left")(i)
b = BatchNormalization(name="right")(i)
model = Model(inputs=i, outputs=Add(name="sum")([a, b]), name="branches")
table = []
keras.utils.layer_utils.print_summary(model, print_fn=lambda line: table.append(line.rstrip()))
rows = [line for line in table if line.startswith(("image", "left", "right", "sum"))]
assert len(rows) == 4, table
assert "Connected to" in "".join(table)
trainable = keras.utils.layer_utils.count_params(model.trainable_weights)
frozen = keras.utils.layer_utils.count_params(model.non_trainable_weights)
assert (trainable, frozen) == (4 * 4 + 4 + 2 * 4, 2 * 4)
sources = keras.utils.layer_utils.get_source_inputs(model.output)
assert [tensor.name for tensor in sources] == ["image"]
RESULT = {"table": table, "trainable": trainable, "frozen": frozen}
