# backends: jax
"""validation_data as a tuple of arrays, and validation_split= left to fit."""
import numpy as np
from keras.layers import Dense, Dropout, Flatten, Conv2D, MaxPooling2D, Input
from keras.models import Sequential
from keras.utils import np_utils, set_random_seed

set_random_seed(9)
num_classes = 4
img_rows = img_cols = 8
rng = np.random.RandomState(3)
x_train = rng.rand(24, img_rows, img_cols, 1).astype("float32")
y_train = np_utils.to_categorical(rng.randint(num_classes, size=24), num_classes)
x_test, y_test = x_train[:8] * 0.5, y_train[:8]


def flow(x, y, batch_size=8):
    order = np.arange(len(x))
    while True:
        for first in range(0, len(x), batch_size):
            rows = order[first:first + batch_size]
            yield x[rows], y[rows]


model = Sequential()
model.add(Input(shape=(img_rows, img_cols, 1)))
model.add(Conv2D(4, kernel_size=(3, 3), activation="relu"))
model.add(MaxPooling2D(pool_size=(2, 2)))
model.add(Dropout(0.0))
model.add(Flatten())
model.add(Dense(num_classes, activation="softmax"))
model.compile(loss="categorical_crossentropy", optimizer="sgd", metrics=["accuracy"])
hist = model.fit_generator(flow(x_train, y_train, batch_size=8),
                           steps_per_epoch=len(x_train) // 8,
                           epochs=2,
                           validation_data=(x_test, y_test),
                           verbose=0)
score = model.evaluate(x_test, y_test, verbose=0)
np.testing.assert_allclose(score[0], hist.history["val_loss"][-1], rtol=1e-4)
RESULT = {"hist": hist.history, "score": score, "predicted": model.predict_generator(flow(x_test, y_test), steps=1)}
