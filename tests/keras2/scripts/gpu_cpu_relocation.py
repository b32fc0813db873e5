# backends: jax
"""multi_gpu_model(model, gpus=2, cpu_relocation=True): saved weights, then a Sequence."""
from keras.utils import Sequence, multi_gpu_model
import keras
import numpy as np
from keras.layers import Dense, Input
from keras.models import Sequential


class Rows(Sequence):
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return self.x[index::4], self.y[index::4]


def build_model(seed):
    keras.utils.set_random_seed(seed)
    return Sequential([Input(shape=(2,)), Dense(3, activation="tanh"), Dense(1)])


rng = np.random.RandomState(107)
seq = Rows(rng.normal(size=(30, 2)), rng.normal(size=(30, 1)))
before = build_model(1)
before.save_weights("resume.weights.h5")
model = build_model(2)
try:
    parallel_model = multi_gpu_model(model, gpus=2, cpu_relocation=True)
    print("Training using multiple GPUs..")
except ValueError:
    parallel_model = model
model.load_weights("resume.weights.h5")
parallel_model.compile(loss="mse", optimizer="sgd")
h = parallel_model.fit_generator(seq, epochs=3, workers=2, shuffle=False, verbose=0)

before.compile(loss="mse", optimizer="sgd")
same = before.fit_generator(seq, epochs=3, shuffle=False, verbose=0)
np.testing.assert_allclose(h.history["loss"], same.history["loss"], rtol=1e-4)
assert model.count_params() == parallel_model.count_params() == 13
out = parallel_model.predict_generator(seq)
RESULT = {"loss": h.history["loss"], "weights": model.get_weights(), "out": out}
