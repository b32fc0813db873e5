# backends: jax tensorflow
"""tensorflow.keras: a text-like generator for an LSTM, evaluated and predicted step by step."""
import numpy as np
import tensorflow as tf
from tensorflow.keras.layers import LSTM, Dense, Embedding, Input
from tensorflow.keras.models import Sequential

tf.keras.utils.set_random_seed(10)
text = "the quick brown fox jumps over the lazy dog " * 3
chars = sorted(set(text))
char_indices = dict((c, i) for i, c in enumerate(chars))
maxlen = 6


def windows(batch_size):
    position = 0
    while True:
        X, y = [], []
        for _ in range(batch_size):
            X.append([char_indices[c] for c in text[position:position + maxlen]])
            y.append(char_indices[text[position + maxlen]])
            position = (position + 1) % (len(text) - maxlen)
        yield np.array(X), tf.keras.utils.to_categorical(y, num_classes=len(chars))


model = Sequential()
model.add(Input(shape=(maxlen,)))
model.add(Embedding(len(chars), 4))
model.add(LSTM(5))
model.add(Dense(len(chars), activation="softmax"))
model.compile(loss="categorical_crossentropy", optimizer="sgd")
history = model.fit_generator(windows(16), steps_per_epoch=4, epochs=2, verbose=0, max_queue_size=1)
loss = model.evaluate_generator(windows(16), steps=3, max_queue_size=1)
out = model.predict_generator(windows(4), steps=2)
assert out.shape == (8, len(chars))
RESULT = {"loss": history.history["loss"], "evaluated": loss, "out": out}
