# backends: jax
"""HDF5Matrix: uint8 images, scaled by a lambda, for a small convolutional network."""
from __future__ import print_function

import h5py
import keras
import numpy as np
from keras.layers import Conv2D, Dense, Flatten, Input, MaxPooling2D
from keras.models import Sequential
from keras.utils.io_utils import HDF5Matrix
from keras.utils.np_utils import to_categorical

batch_size = 8
num_classes = 4
epochs = 2
keras.utils.set_random_seed(11)

rng = np.random.RandomState(11)
f = h5py.File('cifar.h5', 'w')
f.create_dataset('X_train', data=rng.randint(0, 256, (24, 8, 8, 3)), dtype='uint8')
f.create_dataset('X_test', data=rng.randint(0, 256, (10, 8, 8, 3)), dtype='uint8')
f.create_dataset('y_train', data=to_categorical(rng.randint(0, num_classes, 24), num_classes))
f.create_dataset('y_test', data=to_categorical(rng.randint(0, num_classes, 10), num_classes))
f.close()

norm = lambda x: x.astype('float32') / 255  # noqa: E731
x_train = HDF5Matrix('cifar.h5', 'X_train', normalizer=norm)
y_train = HDF5Matrix('cifar.h5', 'y_train')
x_test = HDF5Matrix('cifar.h5', 'X_test', normalizer=norm)
y_test = HDF5Matrix('cifar.h5', 'y_test')
assert 0.5 < x_train[:].max() <= 1
print('x_train shape:', x_train.shape)
print(x_train.shape[0], 'train samples')

model = Sequential()
model.add(Input(shape=x_train.shape[1:]))
model.add(Conv2D(4, (3, 3), activation='relu', padding='same'))
model.add(MaxPooling2D(pool_size=(2, 2)))
model.add(Flatten())
model.add(Dense(num_classes, activation='softmax'))
model.compile(loss='categorical_crossentropy', optimizer='rmsprop', metrics=['accuracy'])
hist = model.fit(x_train, y_train, batch_size=batch_size, epochs=epochs,
                 validation_data=(x_test, y_test), shuffle='batch', verbose=0)
scores = model.evaluate(x_test, y_test, verbose=0)
np.testing.assert_allclose(hist.history['val_loss'][-1], scores[0], rtol=1e-4)
RESULT = {'history': hist.history, 'scores': scores, 'predicted': model.predict(x_test, verbose=0)}
