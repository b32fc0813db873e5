# backends: jax
"""multi_gpu_model(model, 4) from the module where it first stood, with a generator."""

import numpy as np
from keras.layers import Dense
from keras.models import Sequential
from keras.utils.training_utils import multi_gpu_model

G = 4


def batches():
    rng = np.random.RandomState(1)
    while True:
        x = rng.rand(4 * G, 2)
        yield x, x[:, :1]


model = Sequential()
model.add(Dense(1, input_dim=2, kernel_initializer="zeros"))
if G <= 1:
    print("[INFO] training with 1 GPU...")
    trained = model
else:
    print("[INFO] training with {} GPUs...".format(G))
    trained = multi_gpu_model(model, G)
trained.compile(loss="mse", optimizer="sgd")
history = trained.fit_generator(batches(), steps_per_epoch=2, epochs=2, verbose=0)
RESULT = {"loss": history.history["loss"], "template": model.get_weights()}
