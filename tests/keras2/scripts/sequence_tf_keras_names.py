# backends: jax
"""tensorflow.keras.utils.Sequence: padded texts whose batches have different lengths."""
import numpy as np
import tensorflow as tf
from tensorflow.keras.layers import LSTM, Dense, Embedding, Input
from tensorflow.keras.models import Sequential


class Texts(tf.keras.utils.Sequence):
    def __init__(self, texts, labels, batch_size):
        self.texts, self.labels, self.batch_size = texts, labels, batch_size
        self.epochs = 0

    def __len__(self):
        return -(-len(self.texts) // self.batch_size)

    def __getitem__(self, index):
        texts = self.texts[index * self.batch_size:(index + 1) * self.batch_size]
        x = np.zeros((len(texts), max(len(text) for text in texts)), dtype="int32")
        for row, text in enumerate(texts):
            x[row, :len(text)] = text
        return x, self.labels[index * self.batch_size:(index + 1) * self.batch_size]

    def on_epoch_end(self):
        self.epochs += 1


tf.keras.utils.set_random_seed(61)
rng = np.random.RandomState(61)
texts = [rng.randint(1, 9, size=length).tolist() for length in (2, 2, 3, 3, 3, 2, 5)]
seq = Texts(texts, tf.keras.utils.to_categorical([0, 1, 1, 0, 1, 0, 1], num_classes=2), 3)
model = Sequential([Input(shape=(None,)), Embedding(9, 3), LSTM(2), Dense(2, activation="softmax")])
model.compile(optimizer="sgd", loss="categorical_crossentropy", metrics=["accuracy"])
history = model.fit(seq, epochs=2, shuffle=False, verbose=0, workers=1, use_multiprocessing=False)
assert seq.epochs == 2
scores = model.evaluate_generator(seq)
out = model.predict(seq, verbose=0, workers=2)
np.testing.assert_allclose(scores[0], -np.log((out * seq.labels).sum(axis=1)).mean(), rtol=1e-4)
RESULT = {"history": history.history, "scores": scores, "out": out}
