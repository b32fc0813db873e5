# backends: jax torch tensorflow
"""A loss and a metric that compile() finds by their names in get_custom_objects()."""
import keras
import numpy as np
from keras import utils
from keras.layers import Dense, Input
from keras.models import Sequential, load_model


def root_mean_squared_error(y_true, y_pred):
    return keras.ops.sqrt(keras.ops.mean(keras.ops.square(y_pred - y_true), axis=-1) + 1e-7)


def largest(y_true, y_pred):
    return keras.ops.max(keras.ops.abs(y_pred - y_true), axis=-1)


utils.get_custom_objects()["rmse_loss"] = root_mean_squared_error
utils.get_custom_objects()["largest"] = largest
keras.utils.set_random_seed(22)
model = Sequential([Input(shape=(2,)), Dense(3)])
model.compile(optimizer="sgd", loss="rmse_loss", metrics=["largest"])
x = np.random.RandomState(1).uniform(-1, 1, size=(12, 2))
y = np.stack([x[:, 0], x[:, 1], x.sum(axis=1)], axis=1)
history = model.fit(x, y, batch_size=4, epochs=2, verbose=0, shuffle=False)
loss, metric = model.evaluate(x, y, verbose=0)
difference = model.predict(x, verbose=0) - y
np.testing.assert_allclose(loss, np.sqrt((difference ** 2).mean(axis=1) + 1e-7).mean(), rtol=1e-4)
np.testing.assert_allclose(metric, np.abs(difference).max(axis=1).mean(), rtol=1e-4)
utils.get_custom_objects().clear()
assert not utils.get_custom_objects()
RESULT = {"history": history.history["loss"], "loss": loss, "metric": metric}
