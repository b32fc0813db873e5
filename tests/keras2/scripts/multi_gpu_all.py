# backends: jax
"""multi_gpu_model without a number takes all devices, as in Keras 2.2; a fallback where there are none."""

import numpy as np
from keras.layers import Dense
from keras.models import Sequential
from keras.utils import multi_gpu_model

model = Sequential()
model.add(Dense(1, input_dim=2))
model.set_weights([np.array([[2.0], [-1.0]]), np.array([0.25])])
try:
    parallel = multi_gpu_model(model)
    print("Training using multiple GPUs..")
except ValueError:
    parallel = model
    print("Training using single GPU or CPU..")
parallel.compile(loss="mse", optimizer="rmsprop")
x = np.arange(20.0).reshape(10, 2)
RESULT = {"loss": parallel.evaluate(x, x[:, :1], batch_size=10, verbose=0), "is one": parallel is model}
