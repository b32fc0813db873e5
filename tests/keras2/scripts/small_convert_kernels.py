# backends: jax torch tensorflow
"""Theano's kernels: convert_kernel, convert_all_kernels_in_model and the Dense behind a Flatten."""
import keras
import numpy as np
from keras import utils
from keras.layers import Conv2D, Dense, Flatten, Input
from keras.models import Sequential
from keras.utils import layer_utils
from keras.utils.conv_utils import convert_kernel

keras.utils.set_random_seed(31)
model = Sequential()
model.add(Input(shape=(4, 5, 2)))
model.add(Conv2D(3, (2, 3), name="conv"))
model.add(Flatten())
model.add(Dense(2, name="dense"))
kernel, bias = model.get_layer("conv").get_weights()
dense_kernel = model.get_layer("dense").get_weights()[0]

utils.convert_all_kernels_in_model(model)
flipped = model.get_layer("conv").get_weights()[0]
np.testing.assert_allclose(flipped, kernel[::-1, ::-1])
np.testing.assert_allclose(convert_kernel(flipped), kernel)
np.testing.assert_allclose(model.get_layer("dense").get_weights()[0], dense_kernel)
layer_utils.convert_all_kernels_in_model(model)
np.testing.assert_allclose(model.get_layer("conv").get_weights()[0], kernel)

layer_utils.convert_dense_weights_data_format(model.get_layer("dense"), (3, 3, 3), "channels_last")
moved = model.get_layer("dense").get_weights()[0]
by_hand = dense_kernel.reshape(3, 3, 3, 2).transpose(1, 2, 0, 3).reshape(27, 2)  # from channels first
np.testing.assert_allclose(moved, by_hand)
RESULT = {"flipped": flipped, "moved": moved, "bias": bias}
