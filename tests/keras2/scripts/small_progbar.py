# backends: jax torch tensorflow
"""Progbar of generic_utils in a training loop with train_on_batch; what it says at the end."""
import io
import re
import sys

import keras
import numpy as np
from keras.layers import Dense, Input
from keras.models import Sequential
from keras.utils.generic_utils import Progbar

keras.utils.set_random_seed(30)
model = Sequential([Input(shape=(2,)), Dense(1)])
model.compile("sgd", "mse")
x = np.arange(24.0).reshape(12, 2) / 24
y = x.sum(axis=1)

stdout, sys.stdout = sys.stdout, io.StringIO()
try:
    progbar = Progbar(target=12, width=20, verbose=1, interval=0.0)
    losses = []
    for start in range(0, 12, 4):
        loss = model.train_on_batch(x[start:start + 4], y[start:start + 4])
        losses.append(float(loss))
        progbar.add(4, values=[("score", start)])
    written = sys.stdout.getvalue()
finally:
    sys.stdout = stdout
assert "12/12" in written, written
scores = re.findall(r"score: ([0-9.]+)", written)
assert float(scores[-1]) == 4.0, scores  # the mean of 0, 4, 8
RESULT = {"losses": losses, "scores": [float(score) for score in scores]}
