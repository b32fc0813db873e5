# backends: jax torch tensorflow
"""Datasets of h5py for fit, evaluate and predict, and as validation data."""
import h5py
import keras
import numpy as np
from keras.layers import Dense, Input
from keras.models import Sequential
from keras.utils import np_utils

keras.utils.set_random_seed(46)
rng = np.random.RandomState(6)
with h5py.File("train.h5", "w") as f:
    f.create_dataset("x_train", data=rng.normal(size=(30, 4)).astype("float32"))
    f.create_dataset("y_train", data=np_utils.to_categorical(rng.randint(3, size=30), 3))
    f["x_val"] = f["x_train"][:10] + 0.1
    f["y_val"] = f["y_train"][:10]

model = Sequential([Input(shape=(4,)), Dense(3, activation="softmax")])
model.compile(loss="categorical_crossentropy", optimizer="sgd", metrics=["accuracy"])
start = model.get_weights()
hf = h5py.File("train.h5", "r")
history = model.fit(hf["x_train"], hf["y_train"], batch_size=7, epochs=2, shuffle=False,
                    validation_data=(hf["x_val"], hf["y_val"]), verbose=0)
score = model.evaluate(hf["x_train"], hf["y_train"], verbose=0)
out = model.predict(hf["x_val"], batch_size=3, verbose=0)
x, y, xv, yv = (hf[name][()] for name in ("x_train", "y_train", "x_val", "y_val"))
hf.close()

trained = model.get_weights()
np.testing.assert_allclose(score, model.evaluate(x, y, verbose=0), rtol=1e-4)
np.testing.assert_allclose(out, model.predict(xv, verbose=0), rtol=1e-4)
model.set_weights(start)
again = model.fit(x, y, batch_size=7, epochs=2, shuffle=False, validation_data=(xv, yv), verbose=0)
np.testing.assert_allclose(again.history["val_loss"], history.history["val_loss"], rtol=1e-4)
RESULT = {"history": history.history, "score": score, "out": out, "weights": trained}
