# backends: jax torch tensorflow
"""predict_generator with a generator of x alone, and with a Sequence whose items are x."""
import keras
import keras.utils.data_utils as data_utils
import numpy as np
from keras import layers, models

keras.utils.set_random_seed(12)


class Test(data_utils.Sequence):
    def __init__(self, values, batch_size):
        self.values, self.batch_size = values, batch_size

    def __len__(self):
        return (len(self.values) + self.batch_size - 1) // self.batch_size

    def __getitem__(self, idx):
        return self.values[idx * self.batch_size:(idx + 1) * self.batch_size]


def test_generator(values):
    for value in values:
        yield np.expand_dims(value, axis=0)


values = np.arange(21.0).reshape(7, 3) / 10
model = models.Sequential([layers.Input(shape=(3,)), layers.Dense(2, activation="sigmoid")])
by_sequence = model.predict_generator(Test(values, 3), workers=2, use_multiprocessing=False)
by_generator = model.predict_generator(test_generator(values), steps=7, verbose=0)
some = model.predict_generator(test_generator(values), 4)
np.testing.assert_allclose(by_sequence, by_generator, rtol=1e-5)
np.testing.assert_allclose(some, by_generator[:4], rtol=1e-5)
kernel, bias = model.get_weights()
np.testing.assert_allclose(by_sequence, 1 / (1 + np.exp(-(values.dot(kernel) + bias))), rtol=1e-4)
RESULT = {"by_sequence": by_sequence, "some": some}
