"""What a loader says about itself: sums that add up, and advice that follows from them alone."""

from __future__ import annotations

import heapq
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from befit.loading.meter import Meter
from befit.loading.stats import LoaderStats

MS = 1e-3


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def measured(
    engine: str = "threads",
    workers: int = 2,
    *,
    wait: float,
    step: float,
    load: float,
    batches: int = 20,
    epochs: int = 1,
    start: float = 0.0,
    cpu: float | None = None,
    nbytes: int = 0,
    prefetch: int = 4,
    cpus: int = 4,
    slow: dict[int, tuple[float, float]] | None = None,
) -> LoaderStats:
    """Return the numbers of epochs of equal batches, in seconds; ``slow``: wait and load of some others."""
    clock = Clock()
    meter = Meter(engine, workers, prefetch, cpus=cpus, clock=clock)
    for epoch in range(epochs):
        meter.begin_epoch(epoch)
        for index in range(batches):
            asked = clock.now
            waited, loaded = (slow or {}).get(index, (wait, load))
            clock.now += waited if index else loaded + start
            meter.delivered(asked, index, loaded, nbytes, cpu)
            clock.now += step
        clock.now += 1000.0  # what happens between epochs is nobody's time
    return meter.stats()


def advice(engine: str = "threads", workers: int = 2, **numbers: Any) -> list[str]:
    return list(measured(engine, workers, **numbers).advice)


EPOCHS = st.lists(
    st.lists(st.tuples(*[st.floats(0, 10)] * 3, st.integers(0, 10**9)), min_size=1, max_size=12), max_size=4
)


@given(EPOCHS)
@example([[(1.0, 0.0, 3.0, 0)]])  # a worker's clock that goes faster
def test_sums_add_up(epochs: list[list[tuple[float, float, float, int]]]) -> None:
    """Every second between a first request and a last delivery is counted, once."""
    clock = Clock()
    meter = Meter("threads", 2, 4, clock=clock)
    between = 0.0
    for number, epoch in enumerate(epochs):
        meter.begin_epoch(number)
        first, last = clock.now, clock.now
        for index, (wait, step, load, nbytes) in enumerate(epoch):
            asked = clock.now
            clock.now += wait
            meter.delivered(asked, index, load, nbytes, load / 2)
            last = clock.now
            clock.now += step
        between += last - first
        clock.now += 1
    stats = meter.stats()
    loads = [load for epoch in epochs for _, _, load, _ in epoch]
    assert stats.seconds == pytest.approx(between)
    assert stats.seconds == pytest.approx(stats.start_seconds + stats.consumer_wait + stats.consumer_busy)
    assert stats.consumer_busy == pytest.approx(sum(step for epoch in epochs for _, step, _, _ in epoch[:-1]))
    assert stats.worker_busy == pytest.approx(sum(loads))
    assert stats.nbytes == sum(nbytes for epoch in epochs for *_, nbytes in epoch)
    assert (stats.epochs, stats.batches) == (len(epochs), len(loads))
    assert [batch.seconds for batch in stats.slowest] == heapq.nlargest(5, [load for load in loads if load])
    assert 0 <= stats.wait_share <= 1
    assert 0 <= stats.worker_share <= 1
    assert min(stats.start_seconds, stats.consumer_wait, stats.consumer_busy) >= -1e-9
    assert json.loads(json.dumps(stats.to_dict()))["advice"] == list(stats.advice)
    assert str(stats)


@given(
    st.sampled_from(["inline", "threads", "processes", "another"]),
    st.integers(1, 64),
    *[st.sampled_from([0.0, 1e-6, 1e-3, 0.02, 3.0])] * 4,
    st.integers(1, 30),
    st.sampled_from([0, 10, 10**8]),
    st.integers(1, 3),
)
def test_any_numbers_give_an_advice_or_none(
    engine: str,
    workers: int,
    wait: float,
    step: float,
    load: float,
    cpu: float,
    batches: int,
    nbytes: int,
    prefetch: int,
) -> None:
    stats = measured(
        engine,
        0 if engine == "inline" else workers,
        wait=wait, step=step, load=load, cpu=cpu, batches=batches, nbytes=nbytes, prefetch=prefetch,
    )  # fmt: skip
    assert 1 <= len(stats.advice) <= 3


def test_the_first_wait_is_no_wait_like_the_others() -> None:
    stats = measured(wait=1 * MS, step=2 * MS, load=5 * MS, start=0.7, epochs=2)
    assert stats.first_batch_seconds == pytest.approx(0.705)
    assert stats.start_seconds == pytest.approx(1.41)
    assert stats.start_load == pytest.approx(0.01)
    assert stats.consumer_wait == pytest.approx(2 * 19 * 1 * MS)
    assert stats.consumer_busy == pytest.approx(2 * 19 * 2 * MS)
    assert stats.batches_per_second == pytest.approx(1 / (3 * MS))
    assert stats.wait_share == pytest.approx(1 / 3)
    assert stats.worker_share == pytest.approx(40 * 5 / (2 * (38 * 3 + 2 * 5)))


def test_the_first_batch_of_all_is_the_first_of_the_first_epoch() -> None:
    clock = Clock()
    meter = Meter("threads", 2, 4, clock=clock)
    for number, wait in enumerate((0.5, 0.25)):
        meter.begin_epoch(number)
        asked = clock.now
        clock.now += wait
        meter.delivered(asked, 0, 0.0, 0)
    assert meter.stats().first_batch_seconds == pytest.approx(0.5)
    assert meter.stats().start_seconds == pytest.approx(0.75)


def test_an_epoch_that_was_only_looked_at_is_no_second_one() -> None:
    clock = Clock()
    meter = Meter("inline", 0, 4, clock=clock)
    for number in (0, 0, 1):
        meter.begin_epoch(number)
        meter.delivered(clock.now, 0, 0.0, 0)
    assert meter.stats().epochs == 2


def test_the_slowest_batches_have_names() -> None:
    stats = measured(wait=0, step=10 * MS, load=1 * MS, epochs=2, slow={7: (0, 9 * MS), 3: (0, 8 * MS)})
    named = [(batch.epoch, batch.batch_index) for batch in stats.slowest]
    assert named[:4] == [(1, 7), (0, 7), (1, 3), (0, 3)]
    assert len(named) == 5


def test_nothing_measured_says_so() -> None:
    stats = Meter("threads", 2, 4).stats()
    assert str(stats) == "threads, 2 workers, prefetch 4: no batch was loaded yet"
    assert stats.advice == ()
    assert stats.worker_cpu is None
    assert stats.batches_per_second == 0
    assert stats.workers_needed is None
    assert stats.is_bottleneck is None


def test_cpu_seconds_are_known_only_if_each_batch_has_them() -> None:
    meter = Meter("threads", 2, 4)
    meter.begin_epoch(0)
    meter.delivered(0.0, 0, 1.0, 0, 0.5)
    assert meter.stats().worker_cpu == 0.5
    meter.delivered(0.0, 1, 1.0, 0)
    assert meter.stats().worker_cpu is None


def test_too_few_batches_are_not_judged() -> None:
    assert advice(wait=5 * MS, step=0, load=5 * MS, batches=9) == [
        "too few batches to judge by: load 10 or more, in epochs of several"
    ]
    assert "too few" not in advice(wait=5 * MS, step=0, load=5 * MS, batches=10)[0]
    assert "too few" in advice(wait=5 * MS, step=0, load=5 * MS, batches=1, epochs=50)[0]


def test_a_consumer_that_hardly_waits() -> None:
    assert advice(wait=0.1 * MS, step=9.9 * MS, load=16 * MS) == [
        "the input is not the bottleneck, the consumer waits 1.0% of its time: make its own step faster"
    ]


def test_a_consumer_that_waits_is_not_told_that_it_does_not() -> None:
    stats = measured(wait=0.6 * MS, step=10 * MS, load=0.6 * MS)
    assert stats.is_bottleneck
    assert not any("not the bottleneck" in sentence for sentence in stats.advice)


def test_workers_that_are_not_needed() -> None:
    """Load of 4 ms for steps of 10 ms: one of the two is enough, and needs no third."""
    assert advice(wait=0, step=10 * MS, load=4 * MS)[1:] == ["the workers have time left: workers=1 would do"]
    assert advice(wait=0, step=10 * MS, load=8 * MS, workers=1)[1:] == []


def test_inline_that_waits() -> None:
    numbers = {"wait": 10 * MS, "load": 10 * MS}
    assert advice("inline", 0, step=10 * MS, **numbers) == [
        "the consumer waits 50% of its time, for batches made when it asks: "
        "have them made ahead, write workers=2"
    ]
    assert advice("inline", 0, step=3.5 * MS, **numbers)[0].endswith("write workers=4")
    assert advice("inline", 0, step=0.5 * MS, **numbers)[0].endswith("write workers=4")  # as many as cores
    assert "workers=" not in advice("inline", 0, wait=0.3 * MS, load=0.3 * MS, step=10 * MS)[0]


def test_inline_batches_too_small_for_workers() -> None:
    assert advice("inline", 0, wait=0.02 * MS, step=0, load=0.02 * MS) == [
        "a batch takes 20 µs, less than a worker needs to hand it over: put more samples into a batch"
    ]


@pytest.mark.parametrize(
    ("step", "cpus", "ending"),
    [
        (5 * MS, 16, "write workers=5"),  # 20 ms of work for each 5 ms: 4, and a margin
        (5 * MS, 4, "write workers=4; to keep up takes 5, so make __getitem__ cheaper too"),
        (0, 4, "write workers=4"),
        (5 * MS, 2, "of theirs, one or more for each core: make __getitem__ cheaper, by preparing once what "
                    "is the same in every epoch, or load on more machines"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("cpu", [None, 18 * MS])
def test_busy_workers(step: float, cpus: int, ending: str, cpu: float | None) -> None:
    """More workers, as many as keep up, and never more than cores."""
    (sentence,) = advice("processes", wait=10 * MS - step, step=step, load=20 * MS, cpus=cpus, cpu=cpu)
    assert sentence.endswith(ending)
    assert "while the workers load 9" in sentence or "while the workers load 100%" in sentence


def test_workers_that_wait_for_a_disk_may_be_more_than_cores() -> None:
    (sentence,) = advice("processes", wait=5 * MS, step=5 * MS, load=20 * MS, cpus=2, cpu=1 * MS)
    assert sentence.endswith("write workers=5")


def test_workers_that_wait_for_each_other_are_not_waiting_for_a_disk() -> None:
    """Eight workers of Python on two cores have a core for a quarter of their time."""
    (sentence,) = advice("processes", 8, wait=10 * MS, step=0, load=80 * MS, cpus=2, cpu=20 * MS, batches=100)
    assert "one or more for each core" in sentence


LOCKED = {"wait": 9 * MS, "step": 1 * MS, "load": 20 * MS, "cpu": 10 * MS}


def test_threads_that_take_turns_at_the_lock() -> None:
    assert advice(**LOCKED) == [
        "2 threads get 1.0 cores between them, what the interpreter's lock allows: write engine='processes'"
    ]


@pytest.mark.parametrize(
    "other",
    [
        {"engine": "processes"},
        {"cpu": 20 * MS},  # two cores are in use: the work leaves the lock
        {"cpu": 7 * MS},  # a disk, another program, the lock: nothing tells which
        {"cpu": 2 * MS},  # it waits for something else
        {"cpu": None},
        {"cpus": 1},
        {"workers": 1, "wait": 19 * MS, "cpu": 19 * MS},
        {"wait": 0.1 * MS, "step": 9.9 * MS, "batches": 60},  # the consumer does not wait
        {"load": 4 * MS},  # the workers are idle
    ],
)
def test_threads_that_do_not(other: dict[str, Any]) -> None:
    assert not any("lock" in sentence for sentence in advice(**{**LOCKED, **other}))


def test_threads_of_which_nothing_tells_what_they_wait_for() -> None:
    """Two threads with 0.7 cores: the lock on a busy machine, or a disk. More threads are no advice."""
    (sentence,) = advice(**{**LOCKED, "cpu": 7 * MS})
    assert sentence.endswith(
        "2 threads get 0.7 cores between them: "
        "compare the engines with befit profile MODULE:SEQUENCE --compare"
    )
    (sentence,) = advice(**{**LOCKED, "cpu": 4 * MS, "step": 4 * MS, "wait": 6 * MS})
    assert sentence.endswith("write workers=6")  # of 4 cores: it is no core that they wait for


SLOW = {"wait": 0, "step": 4 * MS, "load": 5 * MS, "batches": 60}


def test_a_slow_batch_that_is_begun_too_late() -> None:
    """200 ms do not hide behind 7 steps of 10 ms; behind 2 * 11 - 1 of them they do."""
    assert advice(**{**SLOW, "step": 10 * MS}, slow={20: (130 * MS, 200 * MS)}) == [
        "the others wait for batch 20 of epoch 0, which took up to 200.0 ms, and work on it begins only "
        "70.0 ms ahead: write prefetch=11"
    ]


def test_workers_that_never_get_ahead_have_to_be_more() -> None:
    """8.2 ms on average for steps of 4 ms: two workers have no lead to spend on a slow batch."""
    slow = {20: (170 * MS, 200 * MS)}
    assert advice(**SLOW, slow=slow)[0].endswith("28.9 ms ahead: write workers=3, prefetch=17")
    assert advice(**SLOW, slow=slow, cpus=2)[0].endswith("28.9 ms ahead: write prefetch=25")


def test_a_batch_too_slow_for_any_prefetch() -> None:
    (sentence,) = advice(**SLOW, slow={20: (970 * MS, 1000 * MS)})
    assert "batch 20 of epoch 0" in sentence
    assert sentence.endswith("make them as cheap as the others")


def test_a_slow_batch_that_nobody_waits_for_is_not_blamed() -> None:
    (sentence,) = advice(**{**SLOW, "wait": 4 * MS}, slow={20: (4 * MS, 35 * MS)})
    assert "batch 20" not in sentence
    assert sentence.endswith("compare the engines with befit profile MODULE:SEQUENCE --compare")


def test_nothing_is_made_ahead() -> None:
    """With prefetch=1 a worker has no task while its batch waits to be fetched."""
    (sentence,) = advice(wait=4 * MS, step=5 * MS, load=8 * MS, prefetch=1)
    assert sentence == "a batch takes 8.0 ms, and work on it begins only 5.0 ms ahead: write prefetch=2"
    assert "prefetch=" not in advice(wait=4 * MS, step=5 * MS, load=8 * MS, prefetch=2)[0]


def test_large_batches_from_processes() -> None:
    numbers: dict[str, Any] = {"wait": 8 * MS, "step": 2 * MS, "load": 2 * MS}
    (sentence,) = advice("processes", nbytes=12_000_000, **numbers)
    assert sentence.endswith(
        "12.0 MB travel with each batch: build it in befit.loading.empty(shape, dtype), unless it is"
    )
    for engine, nbytes in (("processes", 900_000), ("threads", 12_000_000)):
        assert not any("empty" in s for s in advice(engine, nbytes=nbytes, **numbers))
    busy = {**numbers, "load": 19 * MS}
    assert not any("empty" in s for s in advice("processes", nbytes=12_000_000, **busy))


def test_bringing_a_batch_takes_longer_than_making_it() -> None:
    assert advice(wait=0.1 * MS, step=0.01 * MS, load=0.02 * MS, batches=100) == [
        "the consumer waits 100 µs for a batch that takes 20 µs: write workers=0, or put more samples into a "
        "batch"
    ]
    assert not any("workers=0" in s for s in advice(wait=4 * MS, step=5 * MS, load=6 * MS))


def test_a_start_that_takes_most_of_the_time() -> None:
    numbers: dict[str, Any] = {"wait": 0, "step": 10 * MS, "load": 16 * MS, "batches": 100}
    start, rest = advice("processes", start=0.5, **numbers)
    assert start == (
        "the workers' start took 500.0 ms of 1.51 s: make one Loader and iterate over it in every epoch, "
        "they stay"
    )
    assert "not the bottleneck" in rest
    assert len(advice("processes", start=0.1, **numbers)) == 1
    assert len(advice("inline", 0, start=0.5, **numbers)) == 1


def test_rendering() -> None:
    numbers: dict[str, Any] = {"wait": 2 * MS, "step": 4 * MS, "load": 11 * MS, "batches": 12}
    slow = {7: (2 * MS, 13.5 * MS)}
    stats = measured("processes", start=0.05, nbytes=50_000, cpus=8, slow=slow, **numbers)
    assert str(stats) == (
        "processes, 2 workers, prefetch 4: 12 batches of 1 epoch in 127.0 ms\n"
        "  rate             166.7 batches/s, 8.3 MB/s from the workers\n"
        "  start            61.0 ms, with 11.0 ms in __getitem__\n"
        "  consumer waits   22.0 ms, 33.3%\n"
        "  consumer works   44.0 ms, 66.7%\n"
        "  __getitem__      134.5 ms, 87.3% of the workers' time\n"
        "  slowest batches  batch 7 of epoch 0 (13.5 ms), batch 4 of epoch 0 (11.0 ms), "
        "batch 3 of epoch 0 (11.0 ms), batch 2 of epoch 0 (11.0 ms), batch 1 of epoch 0 (11.0 ms)\n"
        "- the workers' start took 50.0 ms of 127.0 ms: make one Loader and iterate over it in every epoch, "
        "they stay\n"
        "- the consumer waits 33% of its time while the workers load 87% of theirs: write workers=4"
    )
