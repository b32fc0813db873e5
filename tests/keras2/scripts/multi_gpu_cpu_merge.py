# backends: jax torch
"""multi_gpu_model(..., cpu_merge=False), an argument of Keras 2.2."""

import numpy as np
from keras import utils
from keras.layers import Dense, Flatten
from keras.models import Sequential

rng = np.random.RandomState(15)
model = Sequential()
model.add(Flatten(input_shape=(2, 2)))
model.add(Dense(3, activation="relu"))
model.add(Dense(2))
model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
images = rng.rand(6, 2, 2)
expected = model.predict(images, verbose=0)
parallel = utils.multi_gpu_model(model, gpus=3, cpu_merge=False)
got = parallel.predict(images, verbose=0)
RESULT = {"got": got, "equal": bool(np.allclose(got, expected, atol=1e-5))}
