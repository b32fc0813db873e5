# backends: jax torch tensorflow
"""The DataGenerator that everyone copied: on_epoch_end shuffles the indexes, and here counts its calls."""
import keras
import numpy as np
from keras.layers import Dense, Input
from keras.models import Sequential


class DataGenerator(keras.utils.Sequence):
    'Generates data for Keras'

    def __init__(self, list_IDs, labels, batch_size=32, dim=(4,), n_classes=3, shuffle=True):
        self.dim = dim
        self.batch_size = batch_size
        self.labels = labels
        self.list_IDs = list_IDs
        self.n_classes = n_classes
        self.shuffle = shuffle
        self.random = np.random.RandomState(0)
        self.calls = 0
        self.orders = []
        self.on_epoch_end()

    def __len__(self):
        'Denotes the number of batches per epoch'
        return int(np.floor(len(self.list_IDs) / self.batch_size))

    def __getitem__(self, index):
        'Generate one batch of data'
        indexes = self.indexes[index*self.batch_size:(index+1)*self.batch_size]
        list_IDs_temp = [self.list_IDs[k] for k in indexes]
        return self.__data_generation(list_IDs_temp)

    def on_epoch_end(self):
        'Updates indexes after each epoch'
        self.calls += 1
        self.indexes = np.arange(len(self.list_IDs))
        if self.shuffle == True:  # noqa: E712
            self.random.shuffle(self.indexes)
        self.orders.append(self.indexes.tolist())

    def __data_generation(self, list_IDs_temp):
        X = np.empty((self.batch_size,) + self.dim)
        y = np.empty((self.batch_size), dtype=int)
        for i, ID in enumerate(list_IDs_temp):
            X[i,] = np.random.RandomState(int(ID[3:])).normal(size=self.dim)
            y[i] = self.labels[ID]
        return X, keras.utils.to_categorical(y, num_classes=self.n_classes)


keras.utils.set_random_seed(37)
params = {'dim': (4,), 'batch_size': 4, 'n_classes': 3, 'shuffle': True}
partition = {'train': ['id-%d' % i for i in range(16)], 'validation': ['id-%d' % i for i in range(16, 24)]}
labels = dict((ID, int(ID[3:]) % 3) for ids in partition.values() for ID in ids)

training_generator = DataGenerator(partition['train'], labels, **params)
validation_generator = DataGenerator(partition['validation'], labels, **params)
model = Sequential([Input(shape=(4,)), Dense(3, activation='softmax')])
model.compile(loss='categorical_crossentropy', optimizer='sgd', metrics=['accuracy'])
history = model.fit_generator(generator=training_generator,
                              validation_data=validation_generator,
                              epochs=3, shuffle=False, verbose=0)
assert training_generator.calls == 1 + 3, training_generator.calls
assert validation_generator.calls == 1 + 3, validation_generator.calls
assert training_generator.orders[1] != training_generator.orders[2]
RESULT = {'history': history.history, 'orders': training_generator.orders,
          'calls': [training_generator.calls, validation_generator.calls]}
