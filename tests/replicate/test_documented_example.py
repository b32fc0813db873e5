"""The example of Keras's documentation, word for word but for the import, with smaller numbers."""

import os
import subprocess
import sys
from contextlib import nullcontext

import h5py
import keras
import numpy as np
import pytest
from keras import layers

pytestmark = pytest.mark.backends

EXAMPLE = """
from keras.applications import Xception
from befit import multi_gpu_model
import numpy as np

num_samples = 17
height = 71
width = 71
num_classes = 10

# Instantiate the base model (or "template" model).
# We recommend doing this with under a CPU device scope,
# so that the model's weights are hosted on CPU memory.
# Otherwise they may end up hosted on a GPU, which would
# complicate weight sharing.
with tf.device('/cpu:0'):
    model = Xception(weights=None,
                     input_shape=(height, width, 3),
                     classes=num_classes)

# Replicates the model on 8 GPUs.
# This assumes that your machine has 8 available GPUs.
parallel_model = multi_gpu_model(model, gpus=8)
parallel_model.compile(loss='categorical_crossentropy',
                       optimizer='rmsprop')

# Generate dummy data.
x = np.random.random((num_samples, height, width, 3))
y = np.random.random((num_samples, num_classes))

# This `fit` call will be distributed on 8 GPUs.
# Since the batch size is 16, each GPU will process 2 samples.
parallel_model.fit(x, y, epochs=1, batch_size=16)

# Save model via the template model (which shares the same weights):
model.save('my_model.h5')
"""

# `tf` is TensorFlow, or on other backends what they have in its place.
BEFORE = """
import contextlib, types, keras
from befit.replicate import simulate_devices
simulate_devices(8)
if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
else:
    tf = types.SimpleNamespace(device=lambda name: contextlib.nullcontext())
"""

AFTER = """
again = keras.models.load_model("my_model.h5")
assert type(again) is type(model) and int(again.optimizer.iterations) == 2
assert np.array_equal(again.predict(x[:2], verbose=0), model.predict(x[:2], verbose=0))
print("as documented")
"""


@pytest.mark.soak  # Xception is compiled for minutes
def test_xception_on_eight_devices(tmp_path):
    answer = subprocess.run(
        [sys.executable, "-c", BEFORE + EXAMPLE + AFTER],
        env={name: value for name, value in os.environ.items() if name != "XLA_FLAGS"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.endswith("as documented\n")


def small_xception(weights, input_shape, classes):
    """Return one block of its kind: separable convolutions, normalized, around a shortcut."""
    image = keras.Input(input_shape)
    hidden = layers.Conv2D(4, 3, strides=2, use_bias=False)(image)
    hidden = layers.Activation("relu")(layers.BatchNormalization()(hidden))
    shortcut = layers.BatchNormalization()(layers.Conv2D(6, 1, strides=2, padding="same")(hidden))
    hidden = layers.BatchNormalization()(layers.SeparableConv2D(6, 3, padding="same")(hidden))
    hidden = layers.MaxPooling2D(3, strides=2, padding="same")(hidden)
    hidden = layers.GlobalAveragePooling2D()(layers.Add()([hidden, shortcut]))
    return keras.Model(image, layers.Dense(classes, activation="softmax")(hidden), name="xception")


def test_the_example_with_a_small_model(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    class Device:
        device = staticmethod(lambda name: nullcontext())

    code = EXAMPLE.replace("from keras.applications import Xception\n", "").replace("= 71", "= 11")
    names = {"Xception": small_xception, "tf": Device}
    exec(code, names)
    capsys.readouterr()  # Keras's progress bar
    model, x = names["model"], names["x"]
    with h5py.File("my_model.h5") as file:
        assert "replica" not in file.attrs["model_config"]
    again = keras.models.load_model("my_model.h5")
    assert type(again) is keras.src.models.functional.Functional
    assert (again.name, int(again.optimizer.iterations)) == ("xception", 2)
    np.testing.assert_allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-6)
    assert names["parallel_model"].devices == tuple(f"cpu:{index}" for index in range(8))
