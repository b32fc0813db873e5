# backends: jax torch tensorflow
"""Imports that try several releases, one after the other."""

import numpy as np

try:
    from keras.utils.np_utils import to_categorical
except ImportError:
    from keras.utils import to_categorical
try:
    from keras.utils import plot_model
except ImportError:
    from keras.utils.visualize_util import plot as plot_model
try:
    from keras.utils.data_utils import Sequence
except ImportError:
    Sequence = object
from keras.layers import Dense
from keras.models import Sequential


class Few(Sequence):
    def __len__(self):
        return 2

    def __getitem__(self, i):
        return np.full((2, 2), i), to_categorical([0, 1], 2)


model = Sequential()
model.add(Dense(2, input_dim=2, activation="softmax", kernel_initializer="zeros"))
model.compile("sgd", "categorical_crossentropy")
plot_model(model, to_file="net.png")
history = model.fit_generator(Few(), epochs=1, shuffle=False, verbose=0)
RESULT = {"loss": history.history["loss"]}
