# backends: jax torch tensorflow
"""print_summary with a print_fn that collects the lines."""
import keras
from keras.layers import Dense, Input
from keras.models import Sequential
from keras.utils import print_summary

model = Sequential(name="small")
model.add(Input(shape=(8,)))
model.add(Dense(4, activation="relu", name="hidden"))
model.add(Dense(2, activation="softmax", name="scores"))

lines = []
print_summary(model, print_fn=lines.append)
text = "\n".join(lines)
assert "hidden (Dense)" in text and "scores (Dense)" in text
assert "Total params: 46" in text.replace(",", ""), text
print(text)
with open("report.txt", "w") as fh:
    print_summary(model, print_fn=lambda x: fh.write(x + "\n"))
with open("report.txt") as fh:
    assert fh.read() == text + "\n"
RESULT = {"text": text, "count": model.count_params(), "version": keras.__version__}
