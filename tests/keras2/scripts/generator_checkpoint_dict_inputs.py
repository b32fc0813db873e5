# backends: jax
"""Inputs by their names, a ModelCheckpoint, and the best weights loaded again."""
import os

import keras
import numpy as np
from keras.callbacks import CSVLogger, ModelCheckpoint
from keras.layers import Add, Dense, Input
from keras.models import Model
from keras.utils import Sequence

keras.utils.set_random_seed(13)


class Pairs(Sequence):
    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, item):
        rng = np.random.RandomState(item)
        left, right = rng.rand(4, 2), rng.rand(4, 3)
        return {"left": left, "right": right}, {"sum": left.sum(1, keepdims=True) - right.sum(1, keepdims=True)}


left = Input(shape=(2,), name="left")
right = Input(shape=(3,), name="right")
total = Dense(1, name="sum")(Add()([Dense(4)(left), Dense(4)(right)]))
model = Model(inputs={"left": left, "right": right}, outputs={"sum": total})
model.compile(optimizer="sgd", loss={"sum": "mse"})
path = "weights.weights.h5"
callbacks = [ModelCheckpoint(path, monitor="loss", save_best_only=True, save_weights_only=True, verbose=0),
             CSVLogger("log.csv")]
history = model.fit_generator(Pairs(5), epochs=3, callbacks=callbacks, validation_data=Pairs(2), shuffle=False,
                              workers=2, verbose=0)
assert os.path.exists(path)
with open("log.csv") as log:
    lines = log.read().splitlines()
assert len(lines) == 4
model.load_weights(path)
loss = model.evaluate_generator(Pairs(2))
RESULT = {"loss": history.history["loss"], "val_loss": history.history["val_loss"], "best": loss, "head": lines[0]}
