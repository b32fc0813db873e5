"""Writing below one folder: links that somebody planted are not followed."""

import os

import pytest

from befit.files.tree import DescriptorTree, PathTree, open_tree

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs descriptors of folders")


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "root"
    path.mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "victim").write_text("unharmed")
    return path


def test_this_system_has_descriptors(root):
    with open_tree(root) as tree:
        assert isinstance(tree, DescriptorTree)


def test_a_planted_link_to_a_folder_is_not_entered(root):
    (root / "d").symlink_to("../outside")
    with open_tree(root) as tree:
        for write in (
            lambda: tree.write(("d", "victim"), [b"evil"], executable=False),
            lambda: tree.make_folder(("d", "new")),
            lambda: tree.symlink(("d", "link"), "victim"),
            lambda: tree.hard_link(("copy",), ("d", "victim")),
        ):
            with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
                write()
    assert os.listdir(root.parent / "outside") == ["victim"]
    assert os.listdir(root) == ["d"]


@pytest.mark.parametrize("kind", [DescriptorTree, PathTree])
def test_a_planted_file_is_not_written_through(root, kind):
    (root / "f").symlink_to("../outside/victim")
    with kind(root) as tree, pytest.raises(FileExistsError):
        tree.write(("f",), [b"evil"], executable=False)
    assert (root.parent / "outside" / "victim").read_text() == "unharmed"


def test_the_root_itself_must_not_be_a_link(root):
    (root.parent / "link").symlink_to("outside")
    with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
        open_tree(root.parent / "link")


def test_all_descriptors_are_closed(root):
    descriptors = "/proc/self/fd"
    if not os.path.exists(descriptors):
        pytest.skip("no /proc")
    before = len(os.listdir(descriptors))
    with open_tree(root) as tree:
        tree.write(("a", "b", "c"), [b"x"], executable=False)
        tree.hard_link(("x", "y"), ("a", "b", "c"))
    assert len(os.listdir(descriptors)) == before


@pytest.mark.parametrize("kind", [DescriptorTree, PathTree])
def test_a_write_that_takes_only_some_bytes_is_gone_on_with(root, kind, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data)[:3]))
    with kind(root) as tree:
        tree.write(("d", "f"), [b"0123456789", b"", memoryview(b"abcd")], executable=True, mtime_ns=5 * 10**9)
    found = root / "d" / "f"
    assert found.read_bytes() == b"0123456789abcd"
    assert found.stat().st_mtime_ns == 5 * 10**9
    assert found.stat().st_mode & 0o777 & ~0o022 == 0o755
