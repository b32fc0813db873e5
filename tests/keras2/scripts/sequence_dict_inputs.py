# backends: jax
"""A Sequence of dicts for named inputs, with callbacks; everything of keras.utils by a star."""
from keras.callbacks import Callback, ModelCheckpoint
from keras.layers import Conv1D, Dense, Flatten, GlobalMaxPooling1D, Input, concatenate
from keras.models import Model, load_model
from keras.utils import *  # noqa: F403
import numpy as np


class Pairs(Sequence):  # noqa: F405
    def __init__(self, total, size):
        rng = np.random.RandomState(59)
        self.left = rng.normal(size=(total, 6, 2))
        self.right = rng.normal(size=(total, 4, 1))
        self.labels = to_categorical(rng.randint(0, 2, total), 2)  # noqa: F405
        self.size = size

    def __len__(self):
        return int(np.ceil(len(self.left) / float(self.size)))

    def __getitem__(self, i):
        part = slice(i * self.size, (i + 1) * self.size)
        return {"left": self.left[part], "right": self.right[part]}, self.labels[part]


class Batches(Callback):
    seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(batch)


set_random_seed(59)  # noqa: F405
left, right = Input(shape=(6, 2), name="left"), Input(shape=(4, 1), name="right")
merged = concatenate([Flatten()(left), GlobalMaxPooling1D()(Conv1D(3, 2)(right))])
model = Model([left, right], Dense(2, activation="softmax", name="label")(merged))
model.compile(optimizer="rmsprop", loss="categorical_crossentropy")
pairs = Pairs(13, 5)
save = ModelCheckpoint("best.keras", monitor="loss", save_best_only=True)
history = model.fit_generator(pairs, epochs=2, shuffle=False, callbacks=[save, Batches()], verbose=0)
assert Batches.seen == [0, 1, 2, 0, 1, 2]
out = model.predict_generator(pairs)
np.testing.assert_allclose(load_model("best.keras").predict_generator(pairs), out, rtol=1e-5)
RESULT = {"loss": history.history["loss"], "out": out, "batches": Batches.seen}
