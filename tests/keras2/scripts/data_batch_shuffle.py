# backends: jax
"""shuffle="batch" of arrays: whole batches change places, the rows within them stay together."""
import keras
import numpy as np
from keras.callbacks import LambdaCallback
from keras.layers import Dense, Input
from keras.models import Sequential

np.random.seed(44)
X = np.repeat(np.arange(6.0), 4)[:, np.newaxis]  # all rows of a batch are the same
Y = 10.0 ** X
model = Sequential([Input(shape=(1,)), Dense(1, kernel_initializer="zeros")])
model.compile(loss="mae", optimizer=keras.optimizers.SGD(learning_rate=0.0))
sums = []


class Losses(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        sums.append([])

    def on_train_batch_end(self, batch, logs=None):
        sums[-1].append(float(logs["loss"]) * (batch + 1))  # logs have the mean of the epoch so far


model.fit(X, Y, batch_size=4, epochs=3, shuffle="batch", verbose=0, callbacks=[Losses()])
orders = []
for each in sums:
    own = np.diff([0.0] + each)
    orders.append(np.round(np.log10(own)).astype(int).tolist())
    assert sorted(orders[-1]) == list(range(6)), own
assert len(set(map(tuple, orders))) > 1, orders
RESULT = {"sorted": [sorted(order) for order in orders]}
