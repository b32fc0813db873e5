# backends: jax torch tensorflow
"""fit, evaluate and predict on datasets of h5py themselves, with a Keras 1 argument."""

import h5py
import numpy as np
from keras.layers import Dense
from keras.models import Sequential
from keras.utils.np_utils import to_categorical

rng = np.random.RandomState(44)
with h5py.File("set.h5", "w") as f:
    f["x"] = rng.rand(20, 3).astype("float32")
    f["y"] = to_categorical(rng.randint(0, 2, 20), 2)

data = h5py.File("set.h5", "r")
model = Sequential()
model.add(Dense(2, activation="softmax", input_dim=3, kernel_initializer="zeros"))
model.compile(loss="categorical_crossentropy", optimizer="sgd")
history = model.fit(data["x"], data["y"], batch_size=5, nb_epoch=2, shuffle=False, verbose=0)
predictions = model.predict(data["x"], verbose=0)
data.close()
RESULT = {"loss": history.history["loss"], "predictions": predictions}
