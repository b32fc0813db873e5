"""torch.load(weights_only=True) accepts what the open blocks name, and nothing else."""

from __future__ import annotations

import io
import pickle
import sys
import types

import pytest
import torch
from torch.serialization import add_safe_globals, get_safe_globals, safe_globals

from befit.integrations.torch import objects as torch_objects
from befit.objects import CustomObjectScope, get_custom_objects


class Point:
    def __init__(self, x):
        self.x = x


class Other:
    pass


def function():
    raise AssertionError("a file made this happen")


class CallsFunction:
    def __reduce__(self):
        return function, ()


def saved(obj) -> io.BytesIO:
    stored = io.BytesIO()
    torch.save(obj, stored)
    return stored


def load(stored: io.BytesIO):
    stored.seek(0)
    return torch.load(stored, weights_only=True)


def refuses(stored: io.BytesIO) -> bool:
    with pytest.raises(pickle.UnpicklingError, match="Unsupported global"):
        load(stored)
    return True


@pytest.fixture(autouse=True)
def safe_globals_are_as_before():
    """Every test leaves torch's list as it was."""
    before = set(get_safe_globals())
    yield
    assert set(get_safe_globals()) == before
    assert torch_objects._displaced == {}  # nor are remembered entries piled up


def test_a_named_class_is_accepted_inside_and_refused_outside():
    stored = saved({"point": Point(torch.ones(2)), "weights": torch.zeros(3)})
    assert refuses(stored)
    with CustomObjectScope({"Point": Point}):
        assert torch.equal(load(stored)["point"].x, torch.ones(2))
        assert refuses(saved(Other()))
    assert refuses(stored)


def test_a_whole_module_with_the_classes_of_its_layers():
    net = torch.nn.Sequential(torch.nn.Linear(2, 3))
    with CustomObjectScope({"Sequential": torch.nn.Sequential, "Linear": torch.nn.Linear}):
        loaded = load(saved(net))
    assert torch.equal(loaded(torch.ones(1, 2)), net(torch.ones(1, 2)))


def test_the_list_is_as_before_after_an_exception():
    with pytest.raises(ZeroDivisionError), CustomObjectScope({"Point": Point}):
        1 / 0  # noqa: B018
    assert refuses(saved(Point(1)))


def test_nested_blocks_accept_what_both_name():
    with CustomObjectScope({"Point": Point}):
        with CustomObjectScope({"Other": Other}):
            assert load(saved([Point(1), Other()]))[0].x == 1
        assert refuses(saved(Other()))
        with CustomObjectScope({"Point": Point}):
            pass
        assert load(saved(Point(2))).x == 2


def test_blocks_that_end_in_another_order():
    first, second = CustomObjectScope({"Point": Point}), CustomObjectScope({"Point": Point, "Other": Other})
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert load(saved(Point(1))).x == 1
    second.__exit__(None, None, None)
    assert refuses(saved(Point(1)))


def test_functions_are_never_listed():
    stored = saved(CallsFunction())
    with CustomObjectScope({"function": function, "CallsFunction": CallsFunction, "print": print}):
        assert refuses(stored)


def test_a_moved_class_is_found_by_its_old_path(monkeypatch):
    module = types.ModuleType("oldpkg")
    module.Net = type("Net", (), {"__module__": "oldpkg"})
    monkeypatch.setitem(sys.modules, "oldpkg", module)
    stored = saved(module.Net())
    monkeypatch.delitem(sys.modules, "oldpkg")
    with CustomObjectScope({"oldpkg.Net": Point}):
        assert type(load(stored)) is Point
    with CustomObjectScope({"otherpkg.Net": Point}):
        assert refuses(stored)


def test_a_class_of_a_script_is_found_by_its_bare_name(monkeypatch):
    script_class = type("Point", (), {"__module__": "__main__"})
    monkeypatch.setattr(sys.modules["__main__"], "Point", script_class, raising=False)
    stored = saved(script_class())
    with CustomObjectScope({"Point": Point}):
        assert type(load(stored)) is Point


def test_the_inner_meaning_of_a_path_counts():
    stored = saved(Point(1))
    path = f"{Point.__module__}.Point"
    with CustomObjectScope({path: Point}):
        with CustomObjectScope({path: Other}):
            assert type(load(stored)) is Other
        assert type(load(stored)) is Point


def test_a_shadowed_class_is_no_longer_accepted():
    with CustomObjectScope({"Point": Point}), CustomObjectScope({"Point": Other}):
        assert refuses(saved(Point(1)))


def test_names_written_and_deleted_inside():
    stored = saved(Point(1))
    with CustomObjectScope({"Point": Point}):
        with CustomObjectScope():
            del get_custom_objects()["Point"]
            assert refuses(stored)
            get_custom_objects()["Point"] = Point
            assert load(stored).x == 1
            get_custom_objects().clear()
            assert refuses(stored)
        assert load(stored).x == 1
    with CustomObjectScope():
        get_custom_objects()["Point"] = Point
        assert load(stored).x == 1
        get_custom_objects()["Point"] = function
        assert refuses(stored)


def test_process_wide_names_are_not_listed():
    get_custom_objects()["Point"] = Point
    try:
        assert refuses(saved(Point(1)))
        with CustomObjectScope({"Other": Other}):
            assert refuses(saved(Point(1)))
    finally:
        del get_custom_objects()["Point"]


def test_a_deleted_name_stays_deleted_when_a_block_around_ends_early():
    outer, middle = CustomObjectScope({"Point": Point}), CustomObjectScope({"Point": function})
    with outer:
        middle.__enter__()
        with CustomObjectScope():
            del get_custom_objects()["Point"]
            middle.__exit__(None, None, None)
            assert refuses(saved(Point(1)))


def test_a_class_that_no_name_stands_for_any_more_is_refused():
    """Also by its own path, which only a block in between had brought."""
    with CustomObjectScope({"Other": Point}), CustomObjectScope({"__main__.Net": Other}):
        assert type(load(saved(Other()))) is Other
        with CustomObjectScope({"__main__.Net": function}):
            assert refuses(saved(Other()))


# The user's own entries


def test_a_class_that_the_user_allowed_before_stays_allowed():
    stored = saved(Point(1))
    with safe_globals([Point]):
        with CustomObjectScope({"Point": Point}):
            assert load(stored).x == 1
        assert load(stored).x == 1
        with CustomObjectScope({"Point": Point}), CustomObjectScope():
            del get_custom_objects()["Point"]
            assert load(stored).x == 1  # the user said so, not the block


def test_a_class_that_the_user_allows_inside_stays_allowed():
    stored = saved(Point(1))
    with CustomObjectScope({"Point": Point}):
        add_safe_globals([Point])
    assert load(stored).x == 1
    safe_globals([Point]).__exit__(None, None, None)


def test_what_the_user_forbids_again_inside_stays_named_by_the_block():
    with CustomObjectScope({"Point": Point}):
        with safe_globals([Point]):
            pass
        assert load(saved(Point(1))).x == 1


@pytest.mark.parametrize("entry", [Point, (Point, f"{Point.__module__}.Point")])
def test_another_class_for_a_path_of_the_user_counts_inside_only(entry):
    stored = saved(Point(1))
    with safe_globals([entry]):
        before = set(get_safe_globals())
        with CustomObjectScope({f"{Point.__module__}.Point": Other}):
            assert type(load(stored)) is Other
            with CustomObjectScope({"Point": Point}):
                assert type(load(stored)) is Point
            assert type(load(stored)) is Other
        assert set(get_safe_globals()) == before
        assert type(load(stored)) is Point


def test_an_entry_of_the_user_that_is_just_like_ours_survives():
    entry = (Point, f"{Point.__module__}.Point")
    with safe_globals([entry]):
        with CustomObjectScope({"Point": Point}):
            assert load(saved(Point(1))).x == 1
        assert entry in get_safe_globals()


@pytest.mark.parametrize("inner", [Point, Other, None])
def test_two_entries_of_the_user_for_one_path_survive(inner):
    """The block names one of them; what it put aside comes back, whatever happened inside."""
    path = "x.Net"
    entries = {(Point, path), (Other, path)}
    with safe_globals(list(entries)):
        with CustomObjectScope({path: Point}):
            assert entries & set(get_safe_globals()) == {(Point, path)}
            with CustomObjectScope():
                if inner is None:
                    del get_custom_objects()[path]
                else:
                    get_custom_objects()[path] = inner
        assert entries <= set(get_safe_globals())
