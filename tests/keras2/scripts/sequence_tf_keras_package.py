# backends: jax
"""tf_keras: a Sequence that shuffles rows at the end of each epoch, and trains a small convnet."""
import numpy as np
import tf_keras
from tf_keras.layers import Conv2D, Dense, Flatten, Input
from tf_keras.models import Sequential
from tf_keras.utils import Sequence, to_categorical


class Augmented(Sequence):
    def __init__(self, images, labels, batch_size):
        self.images, self.labels = images, labels
        self.batch_size = batch_size
        self.rng = np.random.RandomState(0)
        self.order = np.arange(len(images))
        self.called = 0

    def __len__(self):
        return int(np.ceil(len(self.images) / float(self.batch_size)))

    def __getitem__(self, idx):
        rows = self.order[idx * self.batch_size:(idx + 1) * self.batch_size]
        x = self.images[rows]
        if idx % 2:
            x = x[:, :, ::-1]  # every second batch mirrored
        return x, self.labels[rows]

    def on_epoch_end(self):
        self.called += 1
        self.rng.shuffle(self.order)


tf_keras.utils.set_random_seed(67)
rng = np.random.RandomState(67)
seq = Augmented(rng.uniform(size=(14, 6, 6, 1)), to_categorical(rng.randint(0, 2, 14)), 4)
model = Sequential([Input(shape=(6, 6, 1)), Conv2D(2, 3), Flatten(), Dense(2, activation="softmax")])
model.compile(loss="categorical_crossentropy", optimizer="adam")
history = model.fit_generator(seq, epochs=4, shuffle=False, workers=0, verbose=0)
assert seq.called == 4
assert sorted(seq.order) == list(range(14))
RESULT = {"loss": history.history["loss"], "order": seq.order, "out": model.predict_generator(seq, workers=0)}
