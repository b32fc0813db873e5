"""Train a classifier of handwritten digits with all nine tools of befit, from download to saved model."""

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

    def __call__(self, weights):
        return 1e-5 * keras.ops.sum(keras.ops.square(weights))

    def get_config(self):
        return {}


class Digits(befit.Sequence):
    """Shuffled batches: pixel vectors of length one ``(batch, 64)`` and one-hot labels ``(batch, 10)``."""

    def __init__(self, path, start, end, batch_size=32):
        self.pixels = befit.HDF5Matrix(path, "pixels", start, end, normalizer=lambda x: x / np.float32(16))
        self.labels = befit.to_categorical(befit.HDF5Matrix(path, "digit", start, end), num_classes=10)
        self.batch_size, self.random = batch_size, np.random.default_rng(0)
        self.on_epoch_end()

    def __len__(self):
        return math.ceil(len(self.pixels) / self.batch_size)

    def __getitem__(self, index):
        rows = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        return befit.normalize(self.pixels[rows]), self.labels[rows]

    def on_epoch_end(self):
        self.order = self.random.permutation(len(self.pixels))


def build_model():
    """Two convolutions side by side; the name ``'MyObject'`` is looked up in the open scope."""
    pixels = keras.Input((64,), name="pixels")
    image = keras.layers.Reshape((8, 8, 1), name="image")(pixels)
    fine = keras.layers.Conv2D(24, 3, activation="relu", padding="same", name="fine")(image)
    coarse = keras.layers.Conv2D(24, 5, activation="relu", padding="same", name="coarse")(image)
    both = keras.layers.Concatenate(name="both")([fine, coarse])
    features = keras.layers.Flatten(name="features")(keras.layers.MaxPooling2D(2, name="pool")(both))
    hidden = keras.layers.Dense(64, activation="relu", kernel_regularizer="MyObject", name="hidden")(features)
    digit = keras.layers.Dense(10, activation="softmax", name="digit")(hidden)
    return keras.Model(pixels, digit, name="digits")


def main(arguments=None):
    """Run the job; return 0 if the model is good enough, else 1."""
    parser = argparse.ArgumentParser(prog="befit demo", description=__doc__.splitlines()[0])
    parser.add_argument("--origin", default=ARCHIVE.as_uri(), help="URL of an archive with digits/digits.csv")
    parser.add_argument("--sha256", help="digest of the archive (known for the one that befit carries)")
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="folder for the results")
    parser.add_argument("--epochs", type=int, default=12)
    options = parser.parse_args(arguments)
    sha256 = options.sha256 or (SHA256 if options.origin == ARCHIVE.as_uri() else None)
    output = options.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)
    simulate_devices(2)  # virtual CPU devices, made before the backend starts; GPUs stay as they are

    folder = befit.get_file("digits", options.origin, untar=True, file_hash=sha256, cache_dir=output)
    table, path = np.loadtxt(Path(folder) / "digits.csv", np.uint8, delimiter=","), output / "digits.h5"
    np.random.default_rng(0).shuffle(table)
    with h5py.File(path, "w") as file:  # 64 pixels a row, and the digit
        file.create_dataset("pixels", data=table[:, :-1], chunks=(32, 64), compression="gzip", shuffle=True)
        file.create_dataset("digit", data=table[:, -1], chunks=(256,), compression="gzip")
    split = len(table) * 4 // 5
    train, test = Digits(path, 0, split), Digits(path, split, None)

    with befit.CustomObjectScope({"MyObject": MyObject}):
        model = build_model()
        befit.print_summary(model)
        for picture in ("model.png", "model.svg"):
            befit.plot_model(model, output / picture, show_shapes=True)

        if len(available_devices("keras", "gpu")) >= 2:
            parallel = befit.multi_gpu_model(model, gpus=2)
        else:
            print("\nFewer than two GPUs here: training on two virtual CPU devices, cpu:0 and cpu:1.")
            parallel = befit.multi_gpu_model(model, devices="cpu:0..1")
        parallel.compile(keras.optimizers.Adam(3e-3), "categorical_crossentropy", metrics=["accuracy"])
        started = time.perf_counter()
        with befit.Loader(train, workers=2) as batches:
            parallel.fit(batches, epochs=options.epochs)
        seconds = time.perf_counter() - started
        model.save(output / "model.keras")
        restored = keras.saving.load_model(output / "model.keras")

    restored.compile(loss="categorical_crossentropy", metrics=["accuracy"])
    accuracy = restored.evaluate(test, verbose=0, return_dict=True)["accuracy"]
    print(f"\ntest accuracy      {accuracy:.4f} on {len(test.pixels)} digits (wanted: > {WANTED_ACCURACY})")
    print(f"samples per second {split * options.epochs / seconds:,.0f} (compilation included)")
    print(f"results            {output}{os.sep}: model.png, model.svg, model.keras")
    return 0 if accuracy > WANTED_ACCURACY else 1


if __name__ == "__main__":
    sys.exit(main())
