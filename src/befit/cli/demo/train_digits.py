"""Train a classifier of handwritten digits with all nine tools of befit, from download to saved model.

Run it as ``befit demo`` or as ``python train_digits.py``; ``--help`` lists the options.
"""

import argparse
import math
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")  # Keras reads it when it is imported

import h5py
import keras
import numpy as np

import befit
from befit.replicate import available_devices, simulate_devices

ARCHIVE = Path(__file__).resolve().with_name("digits.tar.gz")  # UCI handwritten digits, CC BY 4.0
SHA256 = "1e3dcb449057c613f40afffaa7a4796579e7c62b315a64e30c72704df56a76e4"
WANTED_ACCURACY = 0.95


class MyObject(keras.regularizers.Regularizer):
    """A penalty on large weights: the custom object that the model below finds by its name."""

    def __init__(self, strength=1e-5):
        self.strength = strength

    def __call__(self, weights):
        return self.strength * keras.ops.sum(keras.ops.square(weights))

    def get_config(self):
        return {"strength": self.strength}


class Digits(befit.Sequence):
    """Batches of unit-length pixel vectors ``(batch, 64)`` and one-hot labels ``(batch, 10)``, shuffled."""

    def __init__(self, pixels, labels, batch_size=32, seed=0):
        self.pixels, self.labels, self.batch_size = pixels, labels, batch_size
        self.random = np.random.default_rng(seed)
        self.on_epoch_end()

    def __len__(self):
        return math.ceil(len(self.pixels) / self.batch_size)

    def __getitem__(self, index):
        rows = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        return befit.normalize(self.pixels[rows]), self.labels[rows]

    def on_epoch_end(self):
        self.order = self.random.permutation(len(self.pixels))


def write_hdf5(table, path):
    """Write the table ``(samples, 65)``, shuffled, as two compressed datasets: 64 pixels, and the digit."""
    table = np.random.default_rng(0).permutation(table)
    with h5py.File(path, "w") as file:
        file.create_dataset("pixels", data=table[:, :-1], chunks=(32, 64), compression="gzip", shuffle=True)
        file.create_dataset("digit", data=table[:, -1], chunks=(256,), compression="gzip")


def build_model():
    """Two convolutions side by side; the name ``'MyObject'`` is looked up in the open scope."""
    pixels = keras.Input((64,), name="pixels")
    image = keras.layers.Reshape((8, 8, 1), name="image")(pixels)
    fine = keras.layers.Conv2D(24, 3, activation="relu", padding="same", name="fine")(image)
    coarse = keras.layers.Conv2D(24, 5, activation="relu", padding="same", name="coarse")(image)
    both = keras.layers.Concatenate(name="both")([fine, coarse])
    features = keras.layers.Flatten(name="features")(keras.layers.MaxPooling2D(2, name="pool")(both))
    hidden = keras.layers.Dense(64, activation="relu", kernel_regularizer="MyObject", name="hidden")(features)
    return keras.Model(
        pixels, keras.layers.Dense(10, activation="softmax", name="digit")(hidden), name="digits"
    )


def main(arguments=None):
    """Run the job; return 0 if the model is good enough, else 1."""
    parser = argparse.ArgumentParser(prog="befit demo", description=__doc__.splitlines()[0])
    parser.add_argument("--origin", default=ARCHIVE.as_uri(), help="URL of an archive with digits/digits.csv")
    parser.add_argument("--sha256", help="digest of the archive (known for the one that befit carries)")
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="folder for the results")
    parser.add_argument("--epochs", type=int, default=12)
    options = parser.parse_args(arguments)
    sha256 = SHA256 if options.origin == ARCHIVE.as_uri() and not options.sha256 else options.sha256
    output = options.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)
    simulate_devices(2)  # two virtual CPU devices, made before the backend starts; GPUs stay as they are

    folder = befit.get_file("digits", options.origin, untar=True, file_hash=sha256, cache_dir=output)
    write_hdf5(np.loadtxt(Path(folder) / "digits.csv", dtype=np.uint8, delimiter=","), output / "digits.h5")
    labels = befit.to_categorical(befit.HDF5Matrix(output / "digits.h5", "digit"), num_classes=10)
    split = len(labels) * 4 // 5
    window = {
        "datapath": output / "digits.h5",
        "dataset": "pixels",
        "normalizer": lambda x: x / np.float32(16),
    }
    train = Digits(befit.HDF5Matrix(**window, start=0, end=split), labels[:split])
    test = Digits(befit.HDF5Matrix(**window, start=split), labels[split:])

    with befit.CustomObjectScope({"MyObject": MyObject}):
        model = build_model()
        befit.print_summary(model)
        befit.plot_model(model, output / "model.png", show_shapes=True)
        befit.plot_model(model, output / "model.svg", show_shapes=True)

        gpus = [name for name in available_devices(keras.config.backend()) if name.startswith("gpu")]
        if len(gpus) < 2:
            print(f"\n{len(gpus)} GPUs here: training on two virtual CPU devices instead of two GPUs.")
        on_cpu = {"devices": "cpu:0..1"} if len(gpus) < 2 else {"gpus": 2}
        parallel = befit.multi_gpu_model(model, **on_cpu)
        parallel.compile(keras.optimizers.Adam(3e-3), "categorical_crossentropy", metrics=["accuracy"])
        started = time.perf_counter()
        with befit.Loader(train, workers=2) as batches:
            parallel.fit(batches, epochs=options.epochs)
        seconds = time.perf_counter() - started
        model.save(output / "model.keras")
        restored = keras.saving.load_model(output / "model.keras")

    restored.compile(loss="categorical_crossentropy", metrics=["accuracy"])
    accuracy = restored.evaluate(test, verbose=0, return_dict=True)["accuracy"]
    print(
        f"\ntest accuracy      {accuracy:.4f} on {len(test.pixels)} digits (wanted: above {WANTED_ACCURACY})"
    )
    print(f"samples per second {split * options.epochs / seconds:,.0f} (compilation included)")
    print(f"results            {output}{os.sep}: model.png, model.svg, model.keras")
    return 0 if accuracy > WANTED_ACCURACY else 1


if __name__ == "__main__":
    sys.exit(main())
