# backends: jax torch tensorflow
"""Names of Keras 1 for the loading: max_q_size, nb_worker, pickle_safe, val_samples."""
import keras
import numpy as np
from keras.layers import Dense, Input
from keras.models import Sequential

try:
    from keras.utils.generic_utils import Progbar
except ImportError:
    from keras.utils import Progbar

keras.utils.set_random_seed(11)
BATCH = 5


def myGenerator(batch_size=BATCH):
    n = 0
    while 1:
        x = np.sin(np.arange(batch_size * 2) + n).reshape(batch_size, 2)
        n += 1
        yield (x, x[:, 0] - x[:, 1])


model = Sequential([Input(shape=(2,)), Dense(1)])
model.compile("sgd", "mse")
bar = Progbar(2, verbose=0)
losses = []
for big_epoch in range(2):
    history = model.fit_generator(myGenerator(), samples_per_epoch=20, nb_epoch=1, verbose=0,
                                  max_q_size=2, nb_worker=1, pickle_safe=False)
    losses += history.history["loss"]
    bar.update(big_epoch + 1)
score = model.evaluate_generator(myGenerator(), val_samples=15, max_q_size=2, nb_worker=1)
predicted = model.predict_generator(myGenerator(), val_samples=15, nb_worker=1)
kernel, bias = model.get_weights()
x = np.concatenate([next(g)[0] for g in [myGenerator()] for _ in range(3)])
np.testing.assert_allclose(predicted, x.dot(kernel) + bias, rtol=1e-4, atol=1e-5)
RESULT = {"losses": losses, "score": score, "predicted": predicted}
