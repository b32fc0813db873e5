# backends: jax tensorflow
"""multi_gpu_model(model) takes all devices; where it raises ValueError the script goes on with one."""
import numpy as np
import tensorflow as tf
from tensorflow.keras.layers import Dense, Flatten, Input
from tensorflow.keras.models import Sequential
from tensorflow.keras.utils import multi_gpu_model

tf.keras.utils.set_random_seed(101)
model = Sequential([Input(shape=(4, 2)), Flatten(), Dense(1)])
try:
    parallel_model = multi_gpu_model(model)
    print("Training using multiple GPUs..")
except ValueError:
    parallel_model = model
    print("Training using single GPU or CPU..")
assert parallel_model is not model
rng = np.random.RandomState(101)
x, y = rng.normal(size=(21, 4, 2)), rng.normal(size=(21, 1))
parallel_model.compile(optimizer="sgd", loss="mse")
history = parallel_model.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0)
out = parallel_model.predict(x, batch_size=21, verbose=0)
np.testing.assert_allclose(out, model.predict(x, verbose=0), rtol=1e-4, atol=1e-6)
refused = []
for gpus in (1, "2"):
    try:
        multi_gpu_model(model, gpus=gpus)
    except (ValueError, TypeError):
        refused.append(str(gpus))
RESULT = {"loss": history.history["loss"], "out": out, "refused": refused}
