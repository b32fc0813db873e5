# backends: jax torch tensorflow
"""validation_data as a Sequence beside a training Sequence; workers for both."""
import keras
import numpy as np
from keras import backend as K
from keras.layers import Dense, Input
from keras.models import Sequential
from keras.utils import Sequence, to_categorical


class DataGenerator(Sequence):
    'Generates data for Keras'

    def __init__(self, list_IDs, labels, batch_size=4, dim=(5,), n_classes=3, shuffle=True):
        self.dim = dim
        self.batch_size = batch_size
        self.labels = labels
        self.list_IDs = list_IDs
        self.n_classes = n_classes
        self.shuffle = shuffle
        self.on_epoch_end()

    def __len__(self):
        'Denotes the number of batches per epoch'
        return int(np.floor(len(self.list_IDs) / self.batch_size))

    def __getitem__(self, index):
        indexes = self.indexes[index * self.batch_size:(index + 1) * self.batch_size]
        return self.__data_generation([self.list_IDs[k] for k in indexes])

    def on_epoch_end(self):
        self.indexes = np.arange(len(self.list_IDs))
        if self.shuffle:
            np.random.RandomState(0).shuffle(self.indexes)

    def __data_generation(self, ids):
        X = np.empty((self.batch_size,) + self.dim)
        y = np.empty((self.batch_size), dtype=int)
        for i, ID in enumerate(ids):
            X[i, ] = np.random.RandomState(ID).normal(size=self.dim)
            y[i] = self.labels[ID]
        return X, to_categorical(y, num_classes=self.n_classes)


keras.utils.set_random_seed(8)
params = {"dim": (5,), "batch_size": 4, "n_classes": 3}
labels = {i: i % 3 for i in range(30)}
training_generator = DataGenerator(list(range(20)), labels, shuffle=True, **params)
validation_generator = DataGenerator(list(range(20, 30)), labels, shuffle=False, **params)
model = Sequential([Input(shape=(5,)), Dense(3, activation="softmax")])
model.compile(loss="categorical_crossentropy", optimizer="sgd", metrics=["accuracy"])
history = model.fit_generator(generator=training_generator,
                              validation_data=validation_generator,
                              use_multiprocessing=False,
                              epochs=2, shuffle=False,
                              workers=3, verbose=0)
again = model.evaluate_generator(validation_generator, workers=2)
np.testing.assert_allclose(again[0], history.history["val_loss"][-1], rtol=1e-4)
RESULT = {"history": history.history, "again": again, "epsilon": K.epsilon()}
