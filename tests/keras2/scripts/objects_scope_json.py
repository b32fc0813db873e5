# backends: jax
"""custom_object_scope around model_from_json; the names are gone afterwards."""
import keras
import numpy as np
from keras.layers import Dense, Input
from keras.models import Model, model_from_json
from keras.utils import custom_object_scope, get_custom_objects


class MyDense(Dense):
    pass


def my_init(shape, dtype=None):
    return np.full(shape, 0.5, dtype or "float32")


i = Input(shape=(2,))
model = Model(i, MyDense(3, kernel_initializer=my_init, name="mine")(i))
text = model.to_json()
with custom_object_scope({"MyDense": MyDense, "my_init": my_init}):
    again = model_from_json(text)
    inside = sorted(get_custom_objects())
outside = sorted(get_custom_objects())
assert isinstance(again.get_layer("mine"), MyDense)
assert "MyDense" not in outside
predicted = again.predict(np.array([[1.0, 2.0]]), verbose=0)
np.testing.assert_allclose(predicted, [[1.5, 1.5, 1.5]])
RESULT = {"predicted": predicted, "inside": inside, "outside": outside, "class": type(again.layers[1]).__name__}
