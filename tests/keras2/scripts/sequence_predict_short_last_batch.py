# backends: jax torch tensorflow
"""predict_generator over a Sequence whose last batch is short: every row once, in order."""
import keras
import numpy as np
from keras import utils
from keras.layers import Dense, Input
from keras.models import Model


class Images(utils.Sequence):
    def __init__(self, names, batch_size=8):
        self.names = names
        self.batch_size = batch_size

    def __len__(self):
        return int(np.ceil(len(self.names) / self.batch_size))

    def __getitem__(self, idx):
        names = self.names[idx * self.batch_size:(idx + 1) * self.batch_size]
        return np.array([[float(name.split(".")[0]), 1.0] for name in names])


keras.utils.set_random_seed(43)
names = ["%03d.png" % number for number in range(29)]
inputs = Input(shape=(2,))
hidden = Dense(4, activation="tanh")(inputs)
model = Model(inputs=inputs, outputs=[Dense(1)(hidden), hidden])
test_gen = Images(names)
assert len(test_gen) == 4
one, two = model.predict_generator(test_gen, workers=3, verbose=0)
assert one.shape == (29, 1) and two.shape == (29, 4)
kernel, bias = model.layers[1].get_weights()
x = np.stack([np.arange(29), np.ones(29)], axis=1)
np.testing.assert_allclose(two, np.tanh(x.dot(kernel) + bias), rtol=1e-4, atol=1e-5)
some = model.predict_generator(test_gen, steps=2)[0]
np.testing.assert_allclose(some, one[:16], rtol=1e-4, atol=1e-6)
RESULT = {"one": one, "two": two, "some": some, "by name": {n: float(v) for n, v in zip(names, one[:, 0])}}
