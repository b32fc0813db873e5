"""An exception in __getitem__ arrives where its batch is due: with type, message, traceback and index."""

from __future__ import annotations

import threading

import pytest

from befit import Sequence
from befit.errors import BefitError, LoaderError


class Special(Exception):
    """An exception that no module of the worker defines, with two arguments."""

    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")
        self.code = code


class Locked(Exception):
    """An exception that cannot be pickled."""

    def __init__(self, message):
        super().__init__(message)
        self.lock = threading.Lock()


class Mute(Exception):
    """An exception that cannot even be printed."""

    def __str__(self):
        raise ValueError("no words")


class Failing(Sequence):
    def __init__(self, error=None, bad=3):
        self.make, self.bad = error, bad

    def __len__(self):
        return 8

    def __getitem__(self, idx):
        if idx == self.bad:
            raise self.make()
        return idx


def notes(error):
    return "\n".join(error.__notes__)


def consume(loader):
    got = []
    with pytest.raises(BaseException) as caught:  # noqa: PT011, PT012 - callers look at the type
        for batch in loader:
            got.append(batch)
    return got, caught.value


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: KeyError("name", 4), KeyError),
        (lambda: Special(7, "broken"), Special),
        (lambda: OSError(2, "no such file", "a.png"), FileNotFoundError),
        (lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), UnicodeDecodeError),
        (lambda: SystemExit(3), SystemExit),
        (lambda: BefitError("own"), BefitError),
    ],
    ids=["builtin", "two arguments", "errno", "unicode", "exit", "befit"],
)
def test_type_arguments_and_index_arrive_after_the_batches_before(make_loader, engine, make, kind):
    loader = make_loader(Failing(make))
    got, error = consume(loader)
    assert got == [0, 1, 2]
    assert type(error) is kind
    assert (error.args, str(error)) == (make().args, str(make()))
    assert "while loading batch index 3 in epoch 0" in notes(error)
    if kind is Special:
        assert error.code == 7
    if engine == "processes":
        assert "raise self.make()" in notes(error), "the worker's own line"


def test_the_users_frame_is_in_the_traceback(make_loader, engine):
    import traceback

    _, error = consume(make_loader(Failing(lambda: ValueError("x"))))
    assert "in __getitem__" in "".join(traceback.format_exception(error))


def test_an_exception_that_cannot_be_pickled_arrives_as_text(make_loader, engine):
    got, error = consume(make_loader(Failing(lambda: Locked("held"))))
    assert got == [0, 1, 2]
    if engine != "processes":
        assert type(error) is Locked
        return
    assert type(error) is LoaderError
    assert "Locked: held (the exception itself cannot be pickled)" in str(error)
    assert "raise self.make()" in notes(error)


def test_an_exception_that_cannot_be_printed_arrives(make_loader):
    got, error = consume(make_loader(Failing(Mute)))
    assert got == [0, 1, 2]
    assert type(error) is Mute


def test_the_loader_is_usable_afterwards(make_loader):
    """The next epoch is complete, and on_epoch_end was not called for the failed one."""
    ended = []

    class Counting(Failing):
        def on_epoch_end(self):
            ended.append(self.bad)

    source = Counting(lambda: ValueError("once"))
    loader = make_loader(source)
    for _ in range(2):
        got, error = consume(loader)
        assert (got, type(error)) == ([0, 1, 2], ValueError)
    source.bad = None
    assert list(loader) == list(range(8))
    assert ended == [None]


def test_the_iterator_that_raised_is_finished(make_loader):
    epoch = iter(make_loader(Failing(lambda: ValueError("x"), bad=0)))
    with pytest.raises(ValueError, match="x"):
        next(epoch)
    with pytest.raises(StopIteration):
        next(epoch)


def test_stop_iteration_does_not_end_the_epoch_silently(make_loader):
    """Passed on as it is, it would look like a shorter epoch."""
    got, error = consume(make_loader(Failing(StopIteration)))
    assert got == [0, 1, 2]
    assert type(error) is LoaderError
    assert r"__getitem__(3) raised StopIteration" in str(error)


def test_timeout_error_of_the_source_is_an_error_like_any_other(make_loader):
    """Not mistaken for the loader's own time limit."""
    got, error = consume(make_loader(Failing(lambda: TimeoutError("server")), timeout=60))
    assert got == [0, 1, 2]
    assert type(error) is TimeoutError
    assert error.args == ("server",)


def test_a_batch_that_cannot_be_pickled_says_so():
    from befit import Loader

    class Generators(Sequence):
        def __len__(self):
            return 2

        def __getitem__(self, idx):
            return (number for number in range(3))

    with Loader(Generators(), workers=1, engine="processes") as loader:
        _, error = consume(loader)
        assert type(error) is TypeError
        assert "the batch cannot be sent from a worker process; use engine='threads'" in notes(error)
        assert "batch index 0" in notes(error)


def test_an_attribute_that_cannot_travel_is_named_before_anything_is_loaded(numbered):
    from befit import Loader

    source = numbered(3)
    source.lock = threading.Lock()
    with Loader(source, workers=2, engine="processes") as loader:
        with pytest.raises(LoaderError, match=r"attribute 'lock' of Numbered .* use engine='threads'"):
            list(loader)
        del source.lock
        assert len(list(loader)) == 3


def test_a_source_that_a_worker_cannot_rebuild_says_why():
    from befit import Loader

    class Rebuilt(Sequence):
        def __len__(self):
            return 2

        def __getitem__(self, idx):
            return idx

        def __setstate__(self, state):
            raise ImportError("No module named 'gone'")

        def __getstate__(self):
            return {"x": 1}

    with (
        Loader(Rebuilt(), workers=2, engine="processes") as loader,
        pytest.raises(
            LoaderError, match=r"cannot rebuild .*Rebuilt: ImportError: No module named 'gone'"
        ) as caught,
    ):
        list(loader)
    assert "__setstate__" in notes(caught.value.__cause__)
