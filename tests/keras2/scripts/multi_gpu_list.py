# backends: jax tensorflow
"""multi_gpu_model with a list of devices, the first one not among them."""

import numpy as np
from keras.layers import Dense, Input
from keras.models import Model
from keras.utils.multi_gpu_utils import multi_gpu_model

a = Input(shape=(4,))
model = Model(a, Dense(2)(a))
model.set_weights([np.arange(8.0).reshape(4, 2), np.array([0.5, -0.5])])
parallel = multi_gpu_model(model, gpus=[1, 3])
x = np.eye(4)[[0, 1, 2, 3, 3, 2, 1]]
RESULT = {"predictions": parallel.predict(x, batch_size=7, verbose=0)}
