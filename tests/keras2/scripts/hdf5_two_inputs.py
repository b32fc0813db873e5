# backends: jax
"""HDF5Matrix: a list of matrices for two inputs and a dict for two outputs."""
try:
    from keras.utils.io_utils import HDF5Matrix
except ImportError:
    from keras.utils import HDF5Matrix
import h5py
import keras
import numpy as np
from keras.layers import Dense, Input, concatenate
from keras.models import Model

keras.utils.set_random_seed(13)
rng = np.random.RandomState(13)
arrays = {"a": rng.normal(size=(36, 3)), "b": rng.normal(size=(36, 2)),
          "sums": rng.normal(size=(36, 1)), "signs": rng.randint(0, 2, (36, 1))}
with h5py.File("multi.h5", "w") as f:
    for key, value in arrays.items():
        f.create_dataset("group/" + key, data=value)


def matrix(key, start, end):
    return HDF5Matrix("multi.h5", "group/" + key, start, end)


a, b = Input(shape=(3,), name="a"), Input(shape=(2,), name="b")
hidden = Dense(4, activation="tanh")(concatenate([a, b]))
model = Model(inputs=[a, b], outputs={"sums": Dense(1, name="sums")(hidden),
                                      "signs": Dense(1, activation="sigmoid", name="signs")(hidden)})
model.compile(optimizer="sgd", loss={"sums": "mse", "signs": "binary_crossentropy"})
history = model.fit([matrix("a", 0, 30), matrix("b", 0, 30)],
                    {"sums": matrix("sums", 0, 30), "signs": matrix("signs", 0, 30)},
                    batch_size=6, epochs=2, shuffle="batch", verbose=0)
out = model.predict([matrix("a", 30, 36), matrix("b", 30, 36)], verbose=0)
same = model.predict([arrays["a"][30:], arrays["b"][30:]], verbose=0)
np.testing.assert_allclose(out["sums"], same["sums"], rtol=1e-5)
RESULT = {"loss": history.history["loss"], "sums": out["sums"], "signs": out["signs"]}
