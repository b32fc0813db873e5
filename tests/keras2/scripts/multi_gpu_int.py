# backends: jax torch tensorflow
"""multi_gpu_model(model, gpus=2), as in the documentation: train on two devices, save the template."""

import numpy as np
from keras.layers import Dense
from keras.models import Sequential, load_model
from keras.utils import multi_gpu_model

np.random.seed(3)
x, y = np.random.rand(16, 3), np.random.rand(16, 1)
model = Sequential()
model.add(Dense(1, input_dim=3, kernel_initializer="zeros"))

# Replicates the model on 2 GPUs.
parallel_model = multi_gpu_model(model, gpus=2)
parallel_model.compile(loss="mse", optimizer="sgd")
# This `fit` call will be distributed on 2 GPUs. Since the batch size is 8, each GPU will process 4 samples.
history = parallel_model.fit(x, y, epochs=2, batch_size=8, shuffle=False, verbose=0)
# Save model via the template model (which shares the same weights):
model.save("my_model.keras")
RESULT = {
    "loss": history.history["loss"],
    "same weights": [np.allclose(a, b) for a, b in zip(model.get_weights(), parallel_model.get_weights())],
    "saved": load_model("my_model.keras").get_weights(),
}
