# backends: jax torch tensorflow
"""Training goes on at initial_epoch; callbacks see the right epochs and stop early."""

import keras
import numpy as np
from keras.callbacks import Callback, EarlyStopping, LearningRateScheduler
from keras.layers import Dense, Input
from keras.models import Sequential
from keras.utils.data_utils import Sequence


class LossHistory(Callback):
    def on_train_begin(self, logs=None):
        self.epochs, self.losses = [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.epochs.append(epoch)

    def on_batch_end(self, batch, logs=None):
        self.losses.append(float(logs.get("loss")))


class Data(Sequence):
    def __len__(self):
        return 3

    def __getitem__(self, i):
        x = np.arange(8.0).reshape(4, 2) / 8 + i
        return x, x.sum(axis=1)


keras.utils.set_random_seed(6)
model = Sequential()
model.add(Input((2,)))
model.add(Dense(1, kernel_initializer="ones"))
model.compile(loss="mae", optimizer="sgd")
record = LossHistory()
schedule = LearningRateScheduler(lambda epoch: 0.01 / (epoch + 1))
first = model.fit_generator(Data(), epochs=2, verbose=0, shuffle=False, callbacks=[record, schedule])
assert record.epochs == [0, 1]
second = model.fit_generator(
    Data(), epochs=5, initial_epoch=2, verbose=0, shuffle=False, callbacks=[record, schedule]
)
assert record.epochs == [2, 3, 4] and len(record.losses) == 9
stop = EarlyStopping(monitor="loss", min_delta=100, patience=1)
third = model.fit_generator(Data(), epochs=9, verbose=0, callbacks=[stop])
assert len(third.epoch) == 2, third.epoch
RESULT = {"losses": record.losses, "epochs": record.epochs, "lr": second.history["learning_rate"]}
