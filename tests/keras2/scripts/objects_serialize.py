# backends: jax torch tensorflow
"""serialize_keras_object and deserialize_keras_object with module_objects, as a layer library used them."""
import keras
import numpy as np
from keras.utils.generic_utils import deserialize_keras_object
from keras.utils.generic_utils import serialize_keras_object


class Shift(object):
    def __init__(self, by=1.0):
        self.by = by

    def __call__(self, x):
        return x + self.by

    def get_config(self):
        return {"by": self.by}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def double(x):
    return 2 * x


def get(identifier):
    if identifier is None:
        return None
    if isinstance(identifier, (dict, str)):
        return deserialize_keras_object(identifier, module_objects=globals(), printable_module_name="transform")
    elif callable(identifier):
        return identifier
    raise ValueError("Could not interpret transform: " + str(identifier))


shift = get({"class_name": "Shift", "config": {"by": 2.5}})
assert isinstance(shift, Shift) and shift.by == 2.5
assert get("double") is double and get(double) is double and get(None) is None
config = serialize_keras_object(Shift(4.0))
assert config["class_name"] == "Shift" and config["config"] == {"by": 4.0}
back = get(config)
try:
    get("unheard_of")
    message = "none"
except ValueError as e:
    message = type(e).__name__ if not isinstance(e, ValueError) else "ValueError"
values = np.arange(3.0)
RESULT = {"shifted": shift(values), "back": back(values), "name": serialize_keras_object(double), "error": message}
