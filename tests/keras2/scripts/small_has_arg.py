# backends: jax
"""has_arg as wrappers of models used it to choose among the arguments they were given."""
from keras.layers import Dense
from keras.models import Sequential
from keras.utils.generic_utils import has_arg


def build(units=3, activation="relu", *, name=None):
    return Sequential([Dense(units, activation=activation)], name=name)


def open_ended(x, **kwargs):
    return kwargs


def filter_sk_params(fn, given, accept_all=False):
    return dict((name, value) for name, value in given.items() if has_arg(fn, name, accept_all))


given = {"units": 5, "name": "chosen", "epochs": 3, "batch_size": 16}
for_build = filter_sk_params(build, given)
for_fit = filter_sk_params(Sequential.fit, given)
assert for_build == {"units": 5, "name": "chosen"}
assert for_fit == {"epochs": 3, "batch_size": 16}
model = build(**for_build)
assert model.layers[0].units == 5 and model.name == "chosen"
checks = [has_arg(open_ended, "x"), has_arg(open_ended, "y"), has_arg(open_ended, "y", accept_all=True)]
assert checks == [True, False, True]
RESULT = {"build": for_build, "fit": for_fit, "checks": checks, "dense": has_arg(Dense.call, "training")}
