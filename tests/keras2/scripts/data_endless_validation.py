# backends: jax torch tensorflow
# migrate leaves: a validation generator without validation_steps never worked
"""Endless generators without a number of steps are refused, before anything is trained."""
import keras
import numpy as np
from keras.layers import Dense, Input
from keras.models import Sequential


def endless():
    while True:
        yield np.ones((2, 3)), np.ones((2, 1))


keras.utils.set_random_seed(42)
model = Sequential([Input(shape=(3,)), Dense(1)])
model.compile(loss="mse", optimizer="sgd")
before = model.get_weights()
raised = []
for number, call in enumerate([
    lambda: model.fit_generator(endless(), steps_per_epoch=2, validation_data=endless(), verbose=0),
    lambda: model.fit_generator(endless(), epochs=2, verbose=0),
    lambda: model.evaluate_generator(endless()),
    lambda: model.predict_generator(endless()),
]):
    try:
        call()
    except ValueError as e:
        raised.append(number)
        assert "steps" in str(e), e
assert raised == [0, 1, 2, 3], raised
for old, new in zip(before, model.get_weights()):
    np.testing.assert_array_equal(old, new)
RESULT = {"raised": raised}
