# backends: jax torch tensorflow
"""HDF5Matrix: fit with shuffle='batch', evaluate and predict."""
import h5py
import keras
import numpy as np
from keras.layers import Dense, Input
from keras.models import Sequential
from keras.utils.io_utils import HDF5Matrix


def create_dataset(h5_path='test.h5'):
    X = np.random.RandomState(0).randn(200, 10).astype('float32')
    y = np.random.RandomState(1).randint(0, 2, size=(200, 1))
    f = h5py.File(h5_path, 'w')
    X_dset = f.create_dataset('my_data', (200, 10), dtype='f')
    X_dset[:] = X
    y_dset = f.create_dataset('my_labels', (200, 1), dtype='i')
    y_dset[:] = y
    f.close()
    return X, y


X, y = create_dataset()
keras.utils.set_random_seed(0)
X_train = HDF5Matrix('test.h5', 'my_data', start=0, end=150)
y_train = HDF5Matrix('test.h5', 'my_labels', start=0, end=150)
X_test = HDF5Matrix('test.h5', 'my_data', start=150, end=200)
y_test = HDF5Matrix('test.h5', 'my_labels', start=150, end=200)

model = Sequential()
model.add(Input(shape=(10,)))
model.add(Dense(64, activation='relu'))
model.add(Dense(1, activation='sigmoid'))
model.compile(loss='binary_crossentropy', optimizer='sgd')
# Note: you have to use shuffle='batch' or False with HDF5Matrix
history = model.fit(X_train, y_train, batch_size=32, epochs=3, shuffle='batch', verbose=False)
loss = model.evaluate(X_test, y_test, batch_size=32, verbose=0)
out_pred = model.predict(X_test, batch_size=32, verbose=False)

np.testing.assert_allclose(loss, model.evaluate(X[150:], y[150:], verbose=0), rtol=1e-5)
np.testing.assert_allclose(out_pred, model.predict(X[150:], verbose=0), rtol=1e-4, atol=1e-6)
RESULT = {'loss': history.history['loss'], 'test loss': loss, 'out': out_pred}
