# backends: jax torch tensorflow
"""count_params of layers with shared and frozen weights, and get_source_inputs of a nested model."""
import numpy as np
from keras.layers import BatchNormalization, Conv2D, Dense, GlobalAveragePooling2D, Input, concatenate
from keras.models import Model
from keras.utils.layer_utils import count_params, get_source_inputs

left, right = Input(shape=(6, 6, 3), name="left"), Input(shape=(6, 6, 3), name="right")
shared = Conv2D(4, 3, name="shared")
both = concatenate([GlobalAveragePooling2D()(shared(left)), GlobalAveragePooling2D()(shared(right))])
out = Dense(2, name="out")(BatchNormalization(name="norm")(both))
model = Model([left, right], out)
model.get_layer("shared").trainable = False

conv, norm, dense = 3 * 3 * 3 * 4 + 4, 4 * 8, 8 * 2 + 2
numbers = {
    "all": count_params(model.weights),
    "trainable": count_params(model.trainable_weights),
    "frozen": int(np.sum([count_params([w]) for w in model.non_trainable_weights])),
    "twice": count_params(shared.weights + shared.weights),
}
assert numbers == {"all": conv + norm + dense, "trainable": norm // 2 + dense, "frozen": conv + norm // 2, "twice": conv}
names = [tensor.name for tensor in get_source_inputs(out)]
assert sorted(names) == ["left", "right"]
RESULT = dict(numbers, names=sorted(names))
