"""One to two replicas, each pinned to a core of its own: predicted, then measured beside the peers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from benchmarks.interleave import keep
from benchmarks.loading_measure import Verdict
from benchmarks.replicate_calibrate import ONE, answer_seconds, costs_of, exchange_seconds, paced, ways_of_one
from benchmarks.replicate_group import CORES, Contender, ContenderError, Group, Rounds, Sample, play
from benchmarks.replicate_model import Costs, at, efficiency
from benchmarks.replicate_models import WORKS

REPLICAS = 2
_SECONDS = 15.0  # for one model, unless three rounds take longer
_EXCHANGING = ("group", "ddp")
# What a step costs beyond the work on its rows: rows that leave next to none.
_FEW_ROWS = {"processes": 1, "threads": 1, "slices": 1, "program": REPLICAS}


class Entry(NamedTuple):
    """A contender, what runs its replicas, and whose one-device step it is compared with."""

    contender: Contender
    engine: str | None = None  # a name of the cost model, None where it has none
    baseline: str = "one device"
    befit: bool = False


class Backend(NamedTuple):
    """Who competes, and what the numbers mean."""

    title: str
    entries: Mapping[str, Entry]
    note: str = ""


_OWN_LOOP = "one device, own loop"

TORCH = Backend(
    "Keras on torch",
    {
        ONE: Entry(Contender("fit", "one", "torch")),
        _OWN_LOOP: Entry(Contender("loop", "one", "torch"), baseline=_OWN_LOOP),
        "befit, processes": Entry(Contender("fit", "processes", "torch", REPLICAS), "processes", befit=True),
        "befit, a rank each": Entry(
            Contender("fit", "group", "torch", REPLICAS, REPLICAS), "group", befit=True
        ),
        "befit, threads": Entry(Contender("fit", "threads", "torch", REPLICAS), "threads", befit=True),
        "DDP, own loop": Entry(Contender("loop", "ddp", "torch", REPLICAS, REPLICAS), "ddp", _OWN_LOOP),
    },
    "Keras itself has no distribution on torch; its guide wraps the model in DDP and trains it in a loop of "
    "one's own, and each is compared with one device trained the same way. Threads take "
    "turns on the one CPU.",
)
MODULE = Backend(
    "torch module",
    {
        ONE: Entry(Contender("module", "one", "torch")),
        "befit, processes": Entry(
            Contender("module", "processes", "torch", REPLICAS), "processes", befit=True
        ),
        "befit, threads": Entry(Contender("module", "threads", "torch", REPLICAS), "threads", befit=True),
        "DDP": Entry(Contender("module", "ddp", "torch", REPLICAS, REPLICAS), "ddp"),
        "accelerate": Entry(Contender("module", "accelerate", "torch", REPLICAS, REPLICAS), "ddp"),
    },
    "nn.DataParallel is left out: on a CPU it runs the module itself.",
)
JAX = Backend(
    "Keras on JAX",
    {
        ONE: Entry(Contender("fit", "one", "jax")),
        "befit": Entry(Contender("fit", "auto", "jax", REPLICAS), "program", befit=True),
        "keras.distribution": Entry(Contender("fit", "stock", "jax", REPLICAS), "program"),
    },
    "The two devices are virtual and share one pool of threads, pinned to two cores; one device has a pool "
    "of one thread on one core. So no replica is bound to a core, and the CPU time of the longest is half "
    "the total.",
)
TENSORFLOW = Backend(
    "Keras on TensorFlow",
    {
        ONE: Entry(Contender("fit", "one", "tensorflow")),
        "befit": Entry(Contender("fit", "auto", "tensorflow", REPLICAS), "slices", befit=True),
        "MirroredStrategy": Entry(Contender("fit", "mirrored", "tensorflow", REPLICAS)),
    },
    "The two devices are logical and share the process's threads: two, on two cores, against one on one. The "
    "CPU time of the longest is half the total. All train with jit_compile=False.",
)


@contextmanager
def started(
    entries: Mapping[str, Entry], *, twin: bool = False
) -> Iterator[tuple[dict[str, Group], Group | None]]:
    """Start all contenders at once, with a second one-device group on the other core if ``twin``.

    Those that cannot take part are left out, with a line that says why.
    """
    groups = {name: Group(entry.contender) for name, entry in entries.items()}
    other = Group(entries[ONE].contender._replace(core=1)) if twin else None
    every = [*groups.values(), *([other] if other else [])]
    try:
        for name in list(groups):
            _take_part(groups, name, groups[name].ready)
        if other:
            other.ready()
        yield groups, other
    finally:
        for group in every:
            group.close()


def build(groups: dict[str, Group], work: str, rows: int | None = None) -> None:
    """Let all build the model of ``work``."""
    for name, group in list(groups.items()):
        _take_part(groups, name, partial(group.build, work, rows or WORKS[work].batch))


def _take_part(groups: dict[str, Group], name: str, prepare: Callable[[], object]) -> None:
    try:
        prepare()
    except ContenderError as error:
        if name == ONE:
            raise
        print(f"{name} takes no part: {str(error).strip().splitlines()[-1]}\n", flush=True)
        del groups[name]


def calibrating(
    backend: Backend, groups: Mapping[str, Group], twin: Group, work: str, *, weak: bool
) -> dict[str, Callable[[], Sample]]:
    """Return the samples that the cost model's constants come from."""
    rows = WORKS[work].batch
    ways = ways_of_one(groups[ONE], twin, rows=rows, share=rows if weak else rows // REPLICAS)
    for name, group in groups.items():
        few = _FEW_ROWS.get(backend.entries[name].engine or "")
        if few:
            ways[f"launch, {name}"] = paced(group, few)
    return ways


def predicted(
    backend: Backend, groups: Mapping[str, Group], rounds: Rounds, answer: float
) -> dict[str, Costs]:
    """Return the constants for each contender that the cost model knows; none is of a step on two devices."""
    costs = costs_of(groups[ONE], rounds, answer)
    found = {}
    for name, group in groups.items():
        engine = backend.entries[name].engine
        if engine is None:
            continue
        exchange = exchange_seconds(group) if engine in _EXCHANGING else 0.0
        wrapper = 0.0
        if engine in _FEW_ROWS:
            beyond = max(0.0, rounds.seconds(f"launch, {name}") - costs.launch)
            exchange, wrapper = (beyond, 0.0) if engine == "program" else (0.0, beyond)
        found[name] = replace(costs, exchange=exchange, wrapper=wrapper)
    return found


def compete(backend: Backend) -> list[Verdict]:
    """Predict and measure each model.

    What the prediction is made of is sampled in the same rounds as what it is compared with, so that both saw
    the machine in the same state.
    """
    if len(CORES) < REPLICAS:
        print(f"{backend.title}: skipped, one replica for each core needs {REPLICAS} of them\n")
        return []
    answer = answer_seconds()
    verdicts = []
    with started(backend.entries, twin=True) as (groups, twin):
        assert twin is not None
        for work, weak in (("conv", False), ("conv", True), ("mlp", False), ("deep", False)):
            if not weak:
                build(groups, work)
                twin.build(work, WORKS[work].batch)
            rows = WORKS[work].batch
            ways = calibrating(backend, groups, twin, work, weak=weak)
            for name, group in groups.items():
                several = backend.entries[name].contender.count > 1
                if name != ONE:
                    ways[name] = paced(group, REPLICAS * rows if weak and several else rows)
            rounds = play(ways, limit=_SECONDS)
            costs = predicted(backend, groups, rounds, answer)
            title = f"{work}, weak" if weak else work
            verdicts += _report(backend, title, list(groups), costs, rounds, weak=weak)
    return verdicts


def _report(
    backend: Backend,
    work: str,
    names: list[str],
    costs: Mapping[str, Costs],
    rounds: Rounds,
    *,
    weak: bool,
) -> list[Verdict]:
    rows, verdicts = [], []
    faster: dict[str, float] = {}
    work_done = REPLICAS if weak else 1
    for name in names:
        entry = backend.entries[name]
        by_clock = {
            clock: work_done * rounds.seconds(entry.baseline, clock) / rounds.seconds(name, clock)
            for clock in ("wall", "cpu")
        }
        cells = [name, *(f"{rounds.seconds(name, clock) * 1e3:.1f}" for clock in ("wall", "cpu"))]
        if entry.contender.count == 1:
            rows.append((*cells, "", "", "", "", rounds.count_quiet(name)))
            continue
        faster[name] = by_clock[rounds.clock]
        measured = faster[name] / REPLICAS
        guess = ""
        if name in costs and entry.engine is not None:
            expected = efficiency(entry.engine, costs[name], weak=weak)
            guess = f"{expected:.2f}"
            verdicts.append(
                Verdict(
                    f"{backend.title}, {work}: efficiency of {name}",
                    f"measured {measured:.2f}",
                    f"predicted {expected:.2f}",
                    f"{abs(expected - measured):.2f} apart",
                    "<= 0.10",
                    round(abs(expected - measured), 2) <= 0.10,
                )
            )
        speeds = [f"{by_clock[clock]:.2f}" for clock in ("wall", "cpu")]
        rows.append((*cells, *speeds, guess, f"{measured:.2f}", rounds.count_quiet(name)))
    keep(
        f"replicate, {backend.title}, {work}",
        (
            WORKS[work.partition(",")[0]].about,
            "wall ms",
            "CPU ms, longest",
            "speed-up, wall",
            "by CPU",
            "predicted efficiency",
            "measured",
            "undisturbed",
        ),
        rows,
        " ".join([_constants(costs), backend.note, rounds.about()]),
    )
    return _rank(backend, work, faster) + verdicts


def _rank(backend: Backend, work: str, faster: Mapping[str, float]) -> list[Verdict]:
    """Return the verdicts on speed."""
    verdicts = []
    befit = {name: faster[name] for name in faster if backend.entries[name].befit}
    peers = {name: faster[name] for name in faster if not backend.entries[name].befit}
    if befit and peers:
        best, peer = max(befit, key=befit.__getitem__), max(peers, key=peers.__getitem__)
        ratio = befit[best] / peers[peer]
        verdicts.append(
            Verdict(
                f"{backend.title}, {work}: speed-up",
                f"{best}: {befit[best]:.2f}",
                f"{peer}: {peers[peer]:.2f}",
                f"{ratio:.2f}",
                ">= 1.0",
                round(ratio, 2) >= 1.0,
            )
        )
    if work == "conv" and "befit, processes" in backend.entries:
        speed_up = befit.get("befit, processes", 0.0)
        verdicts.append(
            Verdict(
                f"{backend.title}, conv: speed-up of processes",
                f"{speed_up:.2f}",
                f"{REPLICAS} cores",
                f"{speed_up:.2f}",
                ">= 1.7",
                round(speed_up, 2) >= 1.7,
            )
        )
    return verdicts


def _constants(costs: Mapping[str, Costs]) -> str:
    """Say what the predictions are made of."""
    if not costs:
        return ""
    shared = next(iter(costs.values()))
    milliseconds = [
        f"{name} {getattr(shared, name) * 1e3:.2f}"
        for name in ("whole", "share", "together", "launch", "apply", "copy", "add", "answer")
    ]
    own = [
        f"{what} of {name} {seconds * 1e3:.2f}"
        for name, each in costs.items()
        for what, seconds in (("exchange", each.exchange), ("wrapper", each.wrapper))
        if seconds
    ]
    return f"Calibrated, in ms: {', '.join(milliseconds + own)}."


def predict() -> list[Verdict]:
    """What the cost model says of more devices than there are cores, each assumed to have one of its own."""
    answer = answer_seconds()
    table = []
    for backend in (TORCH, MODULE, JAX, TENSORFLOW):
        with started(backend.entries, twin=True) as (groups, twin):
            assert twin is not None
            for work in ("conv", "mlp", "deep"):
                build(groups, work)
                twin.build(work, WORKS[work].batch)
                rounds = play(calibrating(backend, groups, twin, work, weak=False), limit=10)
                for name, costs in predicted(backend, groups, rounds, answer).items():
                    engine = backend.entries[name].engine or ""
                    values = [
                        efficiency(engine, costs),
                        *(efficiency(engine, at(costs, n), n) for n in (4, 8)),
                    ]
                    table.append((backend.title, work, name, *(f"{value:.2f}" for value in values)))
    keep(
        "replicate, predicted",
        ("", "", "efficiency at", "2", "4", "8 devices"),
        table,
        "The same rows over all devices. Measured by the other parts: 2. Checked by none here: 4 and 8.",
    )
    return []
