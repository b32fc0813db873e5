"""Which names archive members may have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from befit.errors import UnsafeArchiveError
from befit.files import names
from befit.files.limits import Limits
from befit.files.names import Catalogue, member_parts

LIMITS = Limits()


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a", ("a",)),
        ("./a/b", ("a", "b")),
        ("a//b/", ("a", "b")),
        ("", ()),
        ("./", ()),
        ("a/./b", ("a", "b")),
        ("...", ("...",)),
        ("..a", ("..a",)),
        ("a b/é/日本", ("a b", "é", "日本")),
        ("12:30.txt", ("12:30.txt",)),
    ],
)
def test_plain_names(name, parts):
    assert member_parts(name, LIMITS) == parts


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "//a",
        "..",
        "../a",
        "a/../../b",
        "a/..",
        "C:\\a",
        "c:a",
        "C:/a",
        "a\\b",
        "..\\a",
        "a\0b",
        "a\nb",
        "a\x7fb",
        "a\u202egpj.exe",
        "x" * 256,
        "é" * 128,
        "/".join(["a" * 100] * 11),
        "/".join("a" * 70),
    ],
)
def test_names_that_leave_the_folder_or_deceive(name):
    with pytest.raises(UnsafeArchiveError, match="member"):
        member_parts(name, LIMITS)


@pytest.mark.parametrize("name", ["con", "a/NUL.txt", "aux .c", "a.", "a ", "a/b?", "a|b", "12:30", "com¹"])
def test_names_that_windows_cannot_store_are_refused_there(name, monkeypatch):
    member_parts(name, LIMITS)
    monkeypatch.setattr(names.os, "name", "nt")
    with pytest.raises(UnsafeArchiveError, match="Windows"):
        member_parts(name, LIMITS)


@given(st.text(max_size=40))
def test_what_is_taken_stays_inside(name):
    try:
        parts = member_parts(name, LIMITS)
    except UnsafeArchiveError:
        return
    assert not {"", ".", ".."} & set(parts)
    assert not any("/" in part or "\\" in part or "\0" in part for part in parts)


def catalogue(*members):
    result = Catalogue()
    for name, kind in members:
        result.add(tuple(name.split("/")), kind)
    return result


def test_a_catalogue_lists_folders_before_their_content():
    found = catalogue(("a/b/c", "file"), ("a", "directory"), ("a/b", "directory"), ("a/b", "directory"))
    assert dict(found) == {("a",): "directory", ("a", "b"): "directory", ("a", "b", "c"): "file"}
    assert found.kind(()) == "directory"
    assert found.kind(("x",)) is None


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (("a", "file"), ("a", "file"), "appears twice"),
        (("a", "symlink"), ("a", "symlink"), "appears twice"),
        (("a", "file"), ("a", "directory"), "both a file and a directory"),
        (("a", "symlink"), ("a/b", "file"), "both a symlink and a directory"),
        (("a", "file"), ("a/b", "file"), "both a file and a directory"),
        (("a/b", "file"), ("a", "hard link"), "both a directory and a hard link"),
        (("Readme", "file"), ("README", "file"), "one file on systems that ignore"),
        (("A/x", "file"), ("a/y", "file"), "one file on systems that ignore"),
        (("caf\u00e9", "file"), ("cafe\u0301", "file"), "one file on systems that ignore"),
        (("stra\u00dfe", "file"), ("STRASSE", "file"), "one file on systems that ignore"),
    ],
)
def test_names_that_collide(first, second, says):
    with pytest.raises(UnsafeArchiveError, match=says):
        catalogue(first, second)
