"""Order and random numbers: functions of the seed alone."""

from __future__ import annotations

import random
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from befit import Loader, Sequence
from befit.loading import batch_rng
from befit.testing.batch_source import assert_same_batch

IN_PROCESS = pytest.mark.parametrize("engine", ["inline", "threads"])  # the scheduler is the same for all


def indices(epoch):
    return [int(batch[0]) for batch in epoch]


@IN_PROCESS
def test_shuffling_the_batches(make_loader, numbered):
    """A permutation, another one in each epoch, and a function of the seed alone."""
    runs = [
        [indices(loader) for _ in range(3)]
        for loader in (
            make_loader(numbered(20), shuffle=True, seed=5),
            Loader(numbered(20), shuffle=True, seed=5),
            Loader(numbered(20), shuffle=True, seed=6),
            Loader(numbered(20), shuffle=True),
        )
    ]
    assert runs[0] == runs[1]
    assert len({tuple(order) for run in runs[1:] for order in run}) == 9
    for run in runs:
        assert all(sorted(order) == list(range(20)) for order in run)


@IN_PROCESS
def test_an_epoch_that_was_broken_off_uses_up_its_order(make_loader, numbered):
    """Otherwise who always stops early would see the same batches for ever."""
    loader = make_loader(numbered(20), shuffle=True, seed=0)
    starts = []
    for _ in range(3):
        for batch in loader:
            starts.append(int(batch[0]))
            break
    oracle = Loader(numbered(20), shuffle=True, seed=0)
    assert starts == [indices(oracle)[0] for _ in range(3)]


class Augmented(Sequence):
    """Random numbers in every batch."""

    def __len__(self):
        return 7

    def __getitem__(self, idx):
        return batch_rng().random(), batch_rng().normal(size=3)


class GloballyAugmented(Sequence):
    """Random numbers from the generators that belong to everybody."""

    def __len__(self):
        return 7

    def __getitem__(self, idx):
        return random.random(), np.random.rand(3)


def test_batch_rng_is_the_same_on_every_engine(make_loader):
    expected = [list(loader) for loader in [Loader(Augmented(), seed=3)] for _ in range(2)]
    loader = make_loader(Augmented(), seed=3)
    for epoch in expected:
        for actual, batch in zip(loader, epoch, strict=True):
            assert_same_batch(actual, batch)
    flat = [value for epoch in expected for value, _ in epoch]
    assert len(set(flat)) == len(flat), "every batch of every epoch draws its own numbers"


def test_global_generators_are_seeded_in_worker_processes_as_inline():
    inline = Loader(GloballyAugmented(), seed=3)
    with Loader(GloballyAugmented(), seed=3, workers=2, engine="processes") as loader:
        for _ in range(2):
            for actual, batch in zip(loader, inline, strict=True):
                assert_same_batch(actual, batch)


@IN_PROCESS
def test_seeding_leaves_the_consumers_generators_alone(make_loader):
    """A training script that seeds once draws the same numbers with and without a loader."""

    def draw(batches):
        random.seed(1)
        np.random.seed(1)
        return [(random.random(), np.random.rand()) for _ in batches]

    assert draw(make_loader(Augmented(), seed=3)) == draw(range(7))


def test_threads_leave_the_global_generators_unseeded():
    """They share them with everybody."""
    runs = [[a for a, _ in Loader(GloballyAugmented(), seed=3, workers=1)] for _ in range(2)]
    assert runs[0] != runs[1]


@IN_PROCESS
def test_without_seed_batch_rng_is_unpredictable(make_loader):
    values = [value for value, _ in make_loader(Augmented())]
    assert len(set(values)) == 7


@IN_PROCESS
def test_after_a_batch_batch_rng_is_unpredictable(make_loader):
    drawn = [batch_rng().random() for _ in range(2) for _ in make_loader(Augmented(), seed=3)]
    assert len(set(drawn)) == 14


class FromTorch(Sequence):
    """Random numbers from the generators of random, NumPy and torch."""

    def __len__(self):
        return 7

    def __getitem__(self, idx):
        import torch

        return random.random(), np.random.rand(), torch.rand(2).tolist(), torch.randint(1 << 40, (1,)).item()


@pytest.mark.parametrize("start_method", ["spawn", "fork"])
def test_torch_is_seeded_as_well(start_method):
    """Inline and in processes, for any number of them; other numbers for each batch and epoch."""
    import torch  # noqa: F401 - seeded where it is imported

    inline = Loader(FromTorch(), seed=3)
    expected = [list(inline) for _ in range(2)]
    for workers in (1, 3):
        with Loader(
            FromTorch(), seed=3, workers=workers, engine="processes", start_method=start_method
        ) as loader:
            assert [list(loader) for _ in range(2)] == expected, "also the batch that imports torch"
    flat = [value for epoch in expected for *_, value in epoch]
    assert len(set(flat)) == len(flat)


def test_torch_that_a_batch_imports_is_left_alone():
    """As torch is that was there before, and nothing goes on to wait for it."""
    code = """
        import sys
        from befit import Loader, Sequence

        class FromTorch(Sequence):
            def __len__(self):
                return 2

            def __getitem__(self, idx):
                if idx == 0:
                    return "torch" in sys.modules
                import torch
                return torch.initial_seed()

        imported, seed = Loader(FromTorch(), seed=3)
        assert not imported
        assert not any("ImportWatch" in repr(finder) for finder in sys.meta_path)
        import torch
        assert torch.initial_seed() != seed
        assert list(Loader(FromTorch(), seed=3)) == [True, seed]
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_seeding_leaves_torchs_generator_alone():
    import torch

    def draw(batches):
        torch.manual_seed(1)
        return [torch.rand(1).item() for _ in batches]

    assert draw(Loader(FromTorch(), seed=3)) == draw(range(7))


@pytest.mark.parametrize("start_method", ["spawn", "fork"])
def test_without_seed_no_two_workers_draw_the_same(start_method):
    """A fork copies the generators; workers must not repeat each other, nor the loader's process."""

    class Draw(GloballyAugmented):
        def __len__(self):
            return 20

    with Loader(Draw(), workers=3, engine="processes", start_method=start_method, prefetch=1) as loader:
        drawn = [(a, tuple(b)) for _ in range(2) for a, b in loader]
    own = (random.random(), tuple(np.random.rand(3)))
    assert len({a for a, _ in drawn} | {own[0]}) == 41
    assert len({b for _, b in drawn} | {own[1]}) == 41
