# backends: jax torch tensorflow
"""func_dump and func_load: a function with defaults and a closure goes through text and comes back."""
import json

import keras.utils.generic_utils as generic_utils
import numpy as np
from keras.utils.generic_utils import func_dump, func_load

scale = 3.0


def make(offset):
    def inner(x, power=2, shift=0.5):
        return scale * np.power(x, power) + shift + offset

    return inner


function = make(10.0)
code, defaults, closure = func_dump(function)
assert defaults == (2, 0.5)
assert closure == (10.0,)
text = json.dumps({"code": code, "defaults": defaults, "closure": closure})
stored = json.loads(text)
loaded = func_load(stored["code"], defaults=tuple(stored["defaults"]), closure=tuple(stored["closure"]),
                   globs=globals())
x = np.array([1.0, 2.0, 3.0])
np.testing.assert_allclose(loaded(x), function(x))
double = generic_utils.func_load(generic_utils.func_dump(lambda v: 2 * v))
RESULT = {"values": loaded(x), "by_name": loaded(x, power=1), "double": double(4), "defaults": list(defaults)}
