# backends: jax torch tensorflow
"""samples_per_epoch, nb_epoch and nb_val_samples count samples, as in Keras 1."""
import keras
import numpy as np
from keras.layers import Dense, Input
from keras.models import Sequential
from keras.utils.np_utils import to_categorical

keras.utils.set_random_seed(1)
batch_size = 10
nb_classes = 3
asked = {"train": 0, "val": 0}


def batches(name, seed, batch_size):
    rng = np.random.RandomState(seed)
    while True:
        asked[name] += 1
        x = rng.uniform(size=(batch_size, 4))
        yield x, to_categorical((x.sum(axis=1)).astype(int) % nb_classes, nb_classes)


model = Sequential([Input(shape=(4,)), Dense(nb_classes, activation="softmax")])
model.compile(optimizer="sgd", loss="categorical_crossentropy", metrics=["accuracy"])
train = batches("train", 0, batch_size)
val = batches("val", 1, batch_size)
hist = model.fit_generator(train, samples_per_epoch=60, nb_epoch=2, validation_data=val, nb_val_samples=25, verbose=0)
assert asked["train"] >= 12, asked
RESULT = {
    "loss": hist.history["loss"],
    "val_loss": hist.history["val_loss"],
    "val_accuracy": hist.history["val_accuracy"],
    "epochs": hist.epoch,
}
