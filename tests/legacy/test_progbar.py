"""The progress bar of Keras 2."""

import re

import keras
import pytest

from befit.legacy import Progbar


def shown(capsys, bar, steps):
    for step, value in steps:
        bar.add(step, [("score", value)])
    return [float(score) for score in re.findall(r"score: ([0-9.]+)", capsys.readouterr().out)]


def test_every_line_has_the_mean_of_all_steps(capsys):
    assert shown(capsys, Progbar(12, interval=0), [(4, 0.0), (4, 6.0), (4, 9.0)]) == [0, 3, 5]


def test_a_step_of_more_samples_counts_more(capsys):
    assert shown(capsys, Progbar(4, interval=0), [(3, 2.0), (1, 6.0)]) == [2, 3]


def test_values_of_the_last_step_alone(capsys):
    assert shown(capsys, Progbar(4), [(4, 2.5)]) == [2.5]


def test_stateful_values_are_shown_as_they_are(capsys):
    bar = Progbar(3, interval=0, stateful_metrics=["score"])
    assert shown(capsys, bar, [(1, 1.0), (1, 2.0), (1, 7.0)]) == [1, 2, 7]


def test_it_is_one_of_kerass(capsys):
    assert issubclass(Progbar, keras.utils.Progbar)
    Progbar(None, 30, 1, 0).update(3)
    assert "3/Unknown" in capsys.readouterr().out


@pytest.mark.parametrize("verbose", [0, 2])
def test_verbosity(capsys, verbose):
    assert shown(capsys, Progbar(2, verbose=verbose), [(1, 1.0), (1, 3.0)]) == ([2] if verbose else [])
