"""fit_generator and its likes, and what fit takes no longer."""

from __future__ import annotations

import pytest

from befit.legacy.names import METHODS
from befit.migrate import migrate_source
from befit.migrate.method_call import _SIGNATURES

SEQUENCE = "from befit import Sequence\nclass S(Sequence):\n    pass\ns = S()\n"
GENERATOR = "def gen(n, batch_size=8):\n    while True:\n        yield n\n"
ITERATOR = "class I:\n    def __next__(self):\n        return 1\n"

CASES = {
    # What is put around the data.
    "a Sequence in fit_generator is shuffled": (
        SEQUENCE,
        "m.fit_generator(s)",
        "m.fit(as_batches(s, shuffle=True))",
    ),
    "a Sequence that is not shuffled": (
        SEQUENCE,
        "m.fit_generator(s, shuffle=False)",
        "m.fit(Loader(s, workers=1))",
    ),
    "a Sequence and all that can be said of it": (
        SEQUENCE,
        "m.fit_generator(s, 3, 2, workers=4, use_multiprocessing=True, max_queue_size=20)",
        'm.fit(as_batches(s, workers=4, engine="processes", prefetch=20, shuffle=True), '
        "steps_per_epoch=3, epochs=2)",
    ),
    "batches ahead for each worker": (
        SEQUENCE,
        "m.evaluate_generator(s, workers=4, max_queue_size=20)",
        "m.evaluate(Loader(s, workers=4, prefetch=5))",
    ),
    "batches ahead that cannot be divided here": (
        SEQUENCE,
        "m.evaluate_generator(s, workers=w, max_queue_size=20)",
        "m.evaluate(as_batches(s, workers=w, prefetch=20))",
    ),
    "defaults are not written": (
        SEQUENCE,
        "m.predict_generator(s, None, 10, 1, False, 1)",
        "m.predict(Loader(s, workers=1), steps=None, verbose=1)",
    ),
    "a queue without a limit": (
        SEQUENCE,
        "m.fit_generator(s, max_queue_size=0)",
        "m.fit(as_batches(s, shuffle=True))",
    ),
    "workers in this process": (
        SEQUENCE,
        "m.predict_generator(s, workers=0, use_multiprocessing=True)",
        "m.predict(Loader(s, workers=0))",
    ),
    "an instance without a name": (
        SEQUENCE,
        "m.fit_generator(S(), epochs=3)",
        "m.fit(as_batches(S(), shuffle=True), epochs=3)",
    ),
    "a generator": (
        GENERATOR,
        "m.fit_generator(gen(3), 10, workers=4)",
        "m.fit(Stream(gen(3)), steps_per_epoch=10)",
    ),
    "a generator and its queue": (
        GENERATOR,
        "m.predict_generator(gen(3), steps=3, max_queue_size=2)",
        "m.predict(Stream(gen(3), prefetch=2), steps=3)",
    ),
    "a generator in this thread": (
        GENERATOR,
        "m.evaluate_generator(gen(3), 3, workers=0)",
        "m.evaluate(Stream(gen(3), prefetch=0), steps=3)",
    ),
    "a generator expression": (
        "",
        "m.fit_generator((b for b in c), 3)",
        "m.fit(Stream((b for b in c)), steps_per_epoch=3)",
    ),
    "an iterator": ("", "m.fit_generator(iter(x), 3)", "m.fit(Stream(iter(x)), steps_per_epoch=3)"),
    "an iterator class": (
        ITERATOR + "i = I()\n",
        "m.fit_generator(i, 3)",
        "m.fit(Stream(i), steps_per_epoch=3)",
    ),
    "a function that makes one": (
        GENERATOR + "def make():\n    return gen(3)\n",
        "m.fit_generator(make(), 3)",
        "m.fit(Stream(make()), steps_per_epoch=3)",
    ),
    "the last name given counts": (
        GENERATOR + "g = S()\ng = gen(3)\n",
        "m.fit_generator(g, 3)",
        "m.fit(Stream(g), steps_per_epoch=3)",
    ),
    "one of two": (
        SEQUENCE + GENERATOR + "g = S()\nif s:\n    g = gen(3)\n",
        "m.fit_generator(g, 3)",
        "m.fit(as_batches(g, shuffle=True), steps_per_epoch=3)",
    ),
    "not known": (
        "",
        "m.fit_generator(generator=g, steps_per_epoch=3, workers=w, use_multiprocessing=p, shuffle=q)",
        'm.fit(as_batches(g, workers=w, engine="processes" if p else "auto", shuffle=q), steps_per_epoch=3)',
    ),
    "a Loader stays": (
        "from befit import Loader\n",
        "m.evaluate_generator(Loader(s), 3)",
        "m.evaluate(Loader(s), steps=3)",
    ),
    # Keras 1.
    "samples of a known generator": (
        GENERATOR,
        "m.fit_generator(gen(3, 32), samples_per_epoch=100, nb_epoch=2)",
        "m.fit(Stream(gen(3, 32)), steps_per_epoch=4, epochs=2)",
    ),
    "samples in a name": (
        GENERATOR + "size = 4\n",
        "m.evaluate_generator(gen(3, batch_size=size), val_samples=a + b)",
        "m.evaluate(Stream(gen(3, batch_size=size)), steps=-(-(a + b) // size))",
    ),
    "samples and the default of a function": (
        GENERATOR,
        "m.predict_generator(gen(3), val_samples=n, max_q_size=3, nb_worker=2, pickle_safe=True)",
        "m.predict(Stream(gen(3), prefetch=3), steps=-(-n // 8))",
    ),
    "samples and a default that is a name": (
        "N = 4\ndef gen(batch_size=N):\n    yield 1\n",
        "m.evaluate_generator(gen(), val_samples=10)",
        "m.evaluate(Stream(gen()), steps=-(-10 // N))",
    ),
    "samples of the validation": (
        GENERATOR,
        "m.fit_generator(gen(3), 2, validation_data=gen(1, 5), nb_val_samples=11)",
        "m.fit(Stream(gen(3)), steps_per_epoch=2, validation_data=Stream(gen(1, 5)), validation_steps=3)",
    ),
    # Validation.
    "arrays to validate": (
        SEQUENCE,
        "m.fit_generator(s, validation_data=(x, y), workers=2)",
        "m.fit(as_batches(s, workers=2, shuffle=True), validation_data=(x, y))",
    ),
    "a Sequence to validate": (
        SEQUENCE,
        "m.fit_generator(s, validation_data=s)",
        "m.fit(as_batches(s, shuffle=True), validation_data=s)",
    ),
    "a Sequence to validate, with workers": (
        SEQUENCE,
        "m.fit_generator(s, validation_data=s, workers=2)",
        "m.fit(as_batches(s, workers=2, shuffle=True), validation_data=Loader(s, workers=2))",
    ),
    "something to validate that may be a tuple": (
        SEQUENCE,
        "m.fit_generator(s, validation_data=v)",
        "m.fit(as_batches(s, shuffle=True), validation_data=v)",
    ),
    "something to validate that is no tuple": (
        SEQUENCE,
        "m.fit_generator(s, validation_data=v, validation_steps=2)",
        "m.fit(as_batches(s, shuffle=True), validation_data=as_batches(v), validation_steps=2)",
    ),
    # fit.
    "nb_epoch": ("", "m.fit(x, y, nb_epoch=3)", "m.fit(x, y, epochs=3)"),
    "fit a Sequence with workers": (
        SEQUENCE,
        "m.fit(s, workers=3, epochs=2)",
        "m.fit(as_batches(s, workers=3, shuffle=True), epochs=2)",
    ),
    "fit with workers, in order": (
        SEQUENCE,
        "m.fit(x=s, shuffle=False, workers=3)",
        "m.fit(x=Loader(s, workers=3))",
    ),
    "arrays need no workers": ("", "m.fit(x, y, workers=3, verbose=0)", "m.fit(x, y, verbose=0)"),
    "arrays that are known need no workers": (
        "import numpy as np\nx = np.ones(3).astype('f4')\n",
        "m.predict(x, max_queue_size=3)",
        "m.predict(x)",
    ),
    "predict a Sequence": (SEQUENCE, "m.predict(s, workers=3)", "m.predict(Loader(s, workers=3))"),
    "an iterator class in fit": (
        ITERATOR,
        "m.fit(I(), steps_per_epoch=3, validation_data=I(), validation_steps=1)",
        "m.fit(Stream(I()), steps_per_epoch=3, validation_data=Stream(I()), validation_steps=1)",
    ),
    "a decorator may make an iterator of a generator": (
        "@locked\ndef gen():\n    yield 1\ng = gen()\n",
        "m.fit(g, steps_per_epoch=3)",
        "m.fit(Stream(g), steps_per_epoch=3)",
    ),
    "a decorator that makes nothing of a generator": (
        "class D:\n    @staticmethod\n    def gen():\n        yield 1\nd = D()\n",
        "m.fit(d.gen(), steps_per_epoch=3)",
        "m.fit(d.gen(), steps_per_epoch=3)",
    ),
    "class weights with a generator": (
        GENERATOR,
        "m.fit(gen(1), steps_per_epoch=3, class_weight=w)",
        "m.fit(Stream(gen(1)), steps_per_epoch=3, class_weight=w)",
    ),
    "whole batches shuffled": (
        "",
        "m.fit(x, y, 16, 3, shuffle='batch', verbose=0)",
        "m.fit(as_batches(Sequence.from_arrays(x, y, batch_size=16), shuffle=True), epochs=3, verbose=0)",
    ),
    "whole batches of an HDF5Matrix": (
        "from befit import HDF5Matrix\nx = HDF5Matrix('a', 'x')\n",
        "m.fit(x, y, shuffle='batch')",
        "m.fit(x, y, shuffle='batch')",
    ),
    "whole batches of several HDF5Matrix": (
        "from befit import HDF5Matrix\ndef read(n):\n    return HDF5Matrix('a', n)\n",
        "m.fit([read('x'), read('y')], {'z': z}, shuffle='batch')",
        "m.fit([read('x'), read('y')], {'z': z}, shuffle='batch')",
    ),
    "datasets of h5py": (
        "import h5py\nf = h5py.File('a.h5', 'r')\nx = f['x']\n",
        "m.fit(x, f['g/y'], 8)",
        "m.fit(HDF5Matrix('a.h5', 'x'), HDF5Matrix('a.h5', 'g/y'), 8)",
    ),
    "a dataset of h5py that is written": (
        "import h5py\nf = h5py.File('a.h5', 'r+')\n",
        "m.fit(f['x'], f['y'])",
        "m.fit(f['x'], f['y'])",
    ),
    "a dataset of h5py that is read": (
        "import h5py\nf = h5py.File('a.h5', 'r')\n",
        "m.fit(f['x'][:], y)",
        "m.fit(f['x'][:], y)",
    ),
    "generators that Keras takes itself": (
        GENERATOR,
        "m.fit(gen(1), steps_per_epoch=3)",
        "m.fit(gen(1), steps_per_epoch=3)",
    ),
    # Whose method it is.
    "an estimator of others": (
        "from sklearn import svm\nm = svm.SVC()\n",
        "m.fit(x, workers=3)",
        "m.fit(x, workers=3)",
    ),
    "a class with its own": (
        "class T:\n    def fit_generator(self, g): pass\nm = T()\n",
        "m.fit_generator(g)",
        "m.fit_generator(g)",
    ),
}


def _without_imports(text: str) -> str:
    return text.rstrip("\n").split("\n")[-1]


@pytest.mark.parametrize("name", CASES)
def test_rewritten(name: str) -> None:
    before, call, expected = CASES[name]
    migration = migrate_source(f"import keras\n{before}{call}\n")
    assert _without_imports(migration.text) == expected
    assert migration.remarks == ()
    for needed in ("as_batches(", "Stream(", "Loader(", "HDF5Matrix("):
        if needed in expected:
            assert f" {needed[:-1]}" in "".join(
                line for line in migration.text.split("\n") if "import" in line
            )
    assert migrate_source(migration.text).text == migration.text


def test_the_layout_of_a_call_stays() -> None:
    script = (
        "from keras.models import load_model\n\nload_model('m').fit_generator(\n    generator=g,  # data\n"
        "    steps_per_epoch=3,\n    workers=2,\n    callbacks=[a,\n               b],\n"
        "    shuffle=False,\n)\n"
    )
    assert migrate_source(script).text == (
        "from keras.models import load_model\nfrom befit.loading import as_batches\n\nload_model('m').fit(\n"
        "    as_batches(g, workers=2),  # data\n    steps_per_epoch=3,\n"
        "    callbacks=[a,\n               b],\n)\n"
    )


def test_methods_inside_of_classes() -> None:
    script = (
        "from keras.utils import Sequence\n\n\nclass Data(Sequence):\n    pass\n\n\nclass Trainer:\n"
        "    def __init__(self):\n        self.data = Data()\n\n    def batches(self):\n        yield 1\n\n"
        "    def run(self, model):\n        model.evaluate_generator(self.data)\n"
        "        model.evaluate_generator(self.batches(), 3)\n"
    )
    text = migrate_source(script).text
    assert "model.evaluate(Loader(self.data, workers=1))" in text
    assert "model.evaluate(Stream(self.batches()), steps=3)" in text


def test_a_subclass_of_model_calls_its_base() -> None:
    script = (
        "import keras\nclass M(keras.Model):\n    def go(self, g):\n        super().fit_generator(g, 3)\n"
    )
    assert "super().fit(as_batches(g, shuffle=True), steps_per_epoch=3)" in migrate_source(script).text


def test_a_file_that_only_trains_is_known_by_what_it_calls() -> None:
    script = "def f(m, g):\n    m.fit_generator(g, 3)\n    m.fit(x, y, nb_epoch=3)\n"
    assert migrate_source(script).text.endswith("m.fit(x, y, epochs=3)\n")
    script = "def f(m):\n    m.fit(x, y, nb_epoch=3)\n"
    assert migrate_source(script).text == script


def test_names_that_are_taken_get_others() -> None:
    text = migrate_source("Stream = 3\nm.fit_generator(iter(x), 3)\n").text
    assert "from befit.loading import Stream as befit_Stream\n" in text
    assert "m.fit(befit_Stream(iter(x)), steps_per_epoch=3)" in text


def test_names_that_are_imported_are_used() -> None:
    script = "from keras.utils import Sequence\nm.fit(x, y, shuffle='batch')\n"
    assert migrate_source(script).text == (
        "from befit import Sequence\nfrom befit.loading import as_batches\n"
        "m.fit(as_batches(Sequence.from_arrays(x, y), shuffle=True))\n"
    )


@pytest.mark.parametrize(
    ("before", "call", "word"),
    [
        ("", "m.fit_generator(*a)", "*"),
        ("", "m.fit_generator(g, **k)", "*"),
        ("", "m.fit(g, workers=3, **k)", "*"),
        ("", "m.fit_generator(steps_per_epoch=3)", "without a generator"),
        (GENERATOR, "m.fit_generator(gen(1))", "steps_per_epoch"),
        (GENERATOR, "m.evaluate_generator(gen(1), steps=None)", "steps"),
        (GENERATOR, "m.fit_generator(g, validation_data=gen(1))", "validation_steps"),
        ("", "m.fit_generator(g, samples_per_epoch=3)", "samples_per_epoch"),
        ("", "m.fit_generator([1], 3)", "refused"),
        ("", "m.predict(x, workers=3)", "not known"),
        ("", "m.fit(x, y, shuffle='batch', validation_split=0.5)", "validation_split"),
        ("", "m.fit([a, b], y, shuffle='batch')", "list"),
        ("", "f = m.fit_generator", "without being called"),
        ("", "getattr(m, 'predict_generator')", "string"),
    ],
)
def test_what_cannot_be_rewritten_is_remarked(before: str, call: str, word: str) -> None:
    script = f"import keras\n{before}{call}\n"
    migration = migrate_source(script)
    assert migration.text == script
    assert [remark.line for remark in migration.remarks] == [script.count("\n")]
    assert word in migration.remarks[0].what
    assert migration.remarks[0].instead.startswith("write ")


def test_methods_are_those_of_the_table() -> None:
    assert set(_SIGNATURES) == {row.name for row in METHODS}
