"""Pictures of models beside Graphviz' and Keras'; `python -m benchmarks.plot quality` runs only that part.

Layouts are judged by `benchmarks.plot_measure` on the same boxes and links, and cost the processor time of
one thread; without the program `dot` befit stands alone.
"""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from befit import plot_model
from befit.graph.diagram import Show, diagram
from befit.graph.layout import Layout
from befit.graph.repeats import collapse, count
from benchmarks.files_measure import within
from benchmarks.hdf5_measure import Samples, cpu, wall
from benchmarks.interleave import in_turn, keep
from benchmarks.loading_measure import Verdict, measure, spread
from benchmarks.plot_engines import DOT, Task, befit_drawing, befit_layout, dot_drawing, dot_layout, task
from benchmarks.plot_measure import Faults, judge
from benchmarks.plot_models import graphs, resnet50

ROUNDS = 3
NO_DOT = "dot: skipped, there is no such program on the PATH"


class Result(NamedTuple):
    """What became of one model."""

    model: str
    given: Task
    befit: Faults
    seconds: float
    is_repeatable: bool
    dot: Faults | None
    dot_seconds: float


def quality() -> list[Verdict]:
    """Overlaps, crossings and areas of layouts with all shapes shown."""
    results = [_result(model, task(diagram(graph, Show(shapes=True)))) for model, graph in graphs().items()]
    rows = []
    for result in results:
        peer = result.dot
        rows.append(
            (
                result.model,
                f"{len(result.given.sizes)}/{len(result.given.edges)}",
                _faults(result.befit, result.seconds),
                "-" if peer is None else _faults(peer, result.dot_seconds),
                "-" if peer is None else f"{result.befit.area / peer.area:.2f}",
            )
        )
    columns = "overlaps, through boxes, crossings, Mpx, CPU s"
    heads = ("model", "boxes/edges", f"befit: {columns}", f"dot: {columns}", "area ratio")
    keep("plot quality", heads, rows, "" if DOT else NO_DOT)
    worst = max(results, key=lambda result: result.seconds)
    return [
        _verdict(results, "box overlaps", lambda f: f.overlaps, "0", lambda befit, dot: befit == 0),
        _verdict(results, "edges through boxes", lambda f: f.through, "0", lambda befit, dot: befit == 0),
        _verdict(
            results, "crossings", lambda f: f.crossings, "<= 1.2 x dot", lambda befit, dot: befit <= 1.2 * dot
        ),
        _verdict(
            results, "area in Mpx", lambda f: f.area, "<= 1.3 x dot", lambda befit, dot: befit <= 1.3 * dot
        ),
        Verdict(
            f"layout of {worst.model}, the slowest",
            f"{worst.seconds:.2f} s",
            f"{worst.dot_seconds:.2f} s" if worst.dot else "-",
            "-",
            "<= 1 s CPU",
            worst.seconds <= 1,
        ),
        Verdict(
            "the same layout twice",
            f"{sum(result.is_repeatable for result in results)} of {len(results)} models",
            "-",
            "-",
            "all",
            all(result.is_repeatable for result in results),
        ),
    ]


def folding() -> list[Verdict]:
    """What is left of the boxes with `collapse_repeats`."""
    rows = []
    verdicts = []
    for model, graph in graphs().items():
        whole = diagram(graph, Show(shapes=True))
        started = time.process_time()
        folded = collapse(whole)
        seconds = time.process_time() - started
        inside = sum(1 if box.inner is None else len(box.inner.boxes) for box in folded.boxes)
        rows.append((model, str(len(whole.boxes)), str(len(folded.boxes)), str(inside), f"{seconds:.3f}"))
        if model == "ResNet50":
            is_same = count(whole.boxes) == count(folded.boxes)
            reached = is_same and inside <= 37
            verdicts.append(
                Verdict(
                    "boxes of ResNet50, folded", str(inside), str(len(whole.boxes)), "-", "<= 37", reached
                )
            )
    keep("plot folding", ("model", "boxes", "folded", "with those inside of frames", "CPU s"), rows)
    return verdicts


def speed() -> list[Verdict]:
    """ResNet50 as a file, with its shapes."""
    import keras

    model = resnet50()
    with tempfile.TemporaryDirectory() as folder:
        verdicts = []
        for ending, seconds in ((".png", 1.5), (".svg", 0.2), (".pdf", 0.2)):
            path = Path(folder, f"model{ending}")

            def ours(path: Path = path) -> None:
                plot_model(model, path, show_shapes=True)

            def peer(path: Path = path) -> None:
                keras.utils.plot_model(model, str(path), show_shapes=True, show_layer_names=True)

            work: dict[str, Callable[[], float]] = {"befit": wall(ours)}
            if _can(peer):
                work["Keras"] = wall(peer)
            samples: Samples = in_turn(work, rounds=ROUNDS)
            rows = [(name, spread(values, 1, 2)) for name, values in samples.items()]
            note = "" if "Keras" in work else "Keras: skipped, it needs pydot and Graphviz"
            keep(f"plot ResNet50 as {ending[1:]}", ("", "s (least - greatest)"), rows, note)
            verdicts.append(within(f"ResNet50 as {ending[1:]}", samples, "Keras", seconds))
    return verdicts


def _can(draw: Callable[[], None]) -> bool:
    try:
        draw()
    except Exception as error:  # noqa: BLE001 - of whatever kind: the peer is left out and the reason shown
        print(f"Keras' plot_model: {error}\n")
        return False
    return True


def _result(model: str, given: Task) -> Result:
    layouts: list[Layout] = []
    times = [cpu(lambda: layouts.append(befit_layout(given)))() for _ in range(ROUNDS)]
    peer, peer_seconds = None, 0.0
    if DOT:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        plain = dot_layout(given)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        peer_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        peer = judge(dot_drawing(given, plain))
    return Result(
        model,
        given,
        judge(befit_drawing(given, layouts[0])),
        statistics.median(times),
        all(layout == layouts[0] for layout in layouts),
        peer,
        peer_seconds,
    )


def _faults(faults: Faults, seconds: float) -> str:
    return f"{faults.overlaps}, {faults.through}, {faults.crossings}, {faults.area:.2f}, {seconds:.2f}"


def _verdict(
    results: list[Result],
    measured: str,
    value: Callable[[Faults], float],
    target: str,
    is_good: Callable[[float, float], bool],
) -> Verdict:
    """One measure over all models: the sums, the worst ratio, and whether each model is good enough."""
    total = sum(value(result.befit) for result in results)
    peers = [(value(result.befit), value(result.dot)) for result in results if result.dot is not None]
    ratios = [befit / peer for befit, peer in peers if peer]
    reached = all(is_good(befit, peer) for befit, peer in peers)
    if not peers:
        reached = target == "0" and total == 0
    return Verdict(
        f"{measured}, {len(results)} models",
        f"{total:.4g}",
        f"{sum(peer for _, peer in peers):.4g}" if peers else "-",
        f"at most {max(ratios):.2f}" if ratios else "-",
        target,
        reached,
    )


PARTS: dict[str, Callable[[], list[Verdict]]] = {"quality": quality, "folding": folding, "speed": speed}


def main(parts: list[str] | None = None) -> int:
    return measure("plot", PARTS, parts, peer="dot or Keras")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
