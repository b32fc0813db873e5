"""Sequence: the documented base class."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import cloudpickle
import numpy as np
import pytest

import befit
from befit import Sequence


class Squares(Sequence):
    """Has no __init__, like the subclass in many scripts."""

    def __len__(self):
        return 3

    def __getitem__(self, idx):
        if idx >= 3:
            raise ValueError("asked beyond the end")
        return idx**2


def test_iteration_reads_each_batch_once_and_never_beyond_the_end():
    """An index beyond len would raise ValueError here."""
    assert list(Squares()) == [0, 1, 4]
    assert list(Squares()) == [0, 1, 4]


def test_subclass_need_not_call_super_init():
    class Own(Squares):
        def __init__(self, factor):
            self.factor = factor

    assert list(Own(2)) == [0, 1, 4]


def test_iteration_does_not_end_an_epoch(numbered):
    """Reading a sequence is not training on it."""
    source = numbered()
    list(source)
    assert source.epoch == 0


def test_missing_getitem_is_named():
    class Half(Sequence):
        def __len__(self):
            return 1

    with pytest.raises(NotImplementedError, match=r"Half does not define __getitem__\(self, idx\)"):
        list(Half())


def test_missing_len_is_named():
    class Half(Sequence):
        def __getitem__(self, idx):
            return idx

    with pytest.raises(NotImplementedError, match=r"Half does not define __len__\(self\)"):
        list(Half())
    with pytest.raises(NotImplementedError, match="Half does not define __len__"):
        list(befit.Loader(Half()))


def test_on_epoch_end_is_optional():
    assert Squares().on_epoch_end() is None


def test_documented_example_runs():
    """The class of the Keras documentation, with arrays for images."""
    import math

    class CIFAR10Sequence(Sequence):
        def __init__(self, x_set, y_set, batch_size):
            self.x, self.y = x_set, y_set
            self.batch_size = batch_size

        def __len__(self):
            return math.ceil(len(self.x) / self.batch_size)

        def __getitem__(self, idx):
            batch_x = self.x[idx * self.batch_size : (idx + 1) * self.batch_size]
            batch_y = self.y[idx * self.batch_size : (idx + 1) * self.batch_size]
            return np.array(batch_x), np.array(batch_y)

    batches = list(CIFAR10Sequence(np.arange(10), np.arange(10) * 2, 4))
    assert [len(x) for x, y in batches] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([y for x, y in batches]), np.arange(10) * 2)


def test_class_identity_is_plain(numbered):
    """That Keras takes a sequence as data must not show anywhere else."""
    import keras  # noqa: F401 - its presence must change nothing

    source = numbered()
    assert type(source) is numbered
    assert source.__class__ is numbered
    assert isinstance(source, Sequence)
    assert not isinstance(source, (list, tuple, np.ndarray))
    assert "Numbered object at" in repr(source)
    assert not hasattr(source, "num_batches")


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda source: cloudpickle.loads(cloudpickle.dumps(source))]
)
def test_copies_are_of_the_same_class(numbered, again):
    import keras  # noqa: F401

    source = numbered()
    source.epoch = 5
    twin = again(source)
    assert type(twin) is numbered
    assert vars(twin) == vars(source)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_with_every_protocol(protocol):
    import keras  # noqa: F401

    source = Sequence.from_arrays(np.arange(5), batch_size=2)
    again = pickle.loads(pickle.dumps(source, protocol))
    assert type(again) is type(source)
    assert [batch.tolist() for batch in again] == [[0, 1], [2, 3], [4]]


def test_num_batches_is_the_users_name_too():
    """A subclass may keep a number under the name that Keras reads."""

    class Counting(Squares):
        def __init__(self):
            self.num_batches = 3

    source = Counting()
    assert source.num_batches == 3
    del source.num_batches
    with pytest.raises(AttributeError, match="num_batches"):
        _ = source.num_batches


def test_sequences_and_loaders_import_no_framework():
    """Keras, torch, JAX and h5py stay out of a process that only loads."""
    script = (
        "import sys; from befit import Loader, Sequence; "
        "s = Sequence.from_arrays([1, 2, 3], batch_size=1); list(Loader(s, workers=2)); "
        "print(sorted({'keras', 'torch', 'jax', 'tensorflow', 'h5py'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
