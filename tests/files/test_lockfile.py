"""The lock file: trust on first use, in the format of pooch's registries."""

import hashlib
import os
import shlex
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from befit.errors import ArgumentError, DigestError
from befit.files import get_file, location
from befit.files import lockfile as lockfile_module
from befit.files.digest import Digest
from befit.files.lockfile import find_line, record, recorded_url

URL = "https://example.org/data/f"
NOWHERE = "http://127.0.0.1:1/nothing-listens-here.txt"


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def digest_by(content=b"content"):
    return lambda algorithm: Digest(algorithm, hashlib.new(algorithm, content).hexdigest())


@pytest.fixture(params=["argument", "environment"])
def locked(request, tmp_path, monkeypatch):
    """The lock file, and how a call is told of it."""
    path = tmp_path / "befit.lock"
    if request.param == "environment":
        monkeypatch.setenv("BEFIT_LOCK", str(path))
        return path, {}
    return path, {"lock": path}


def test_the_first_download_is_recorded_and_the_next_must_be_the_same(server, cache, tmp_path, locked):
    path, arguments = locked
    url = server.serve("/f", b"content", b"content", b"tampered")
    get_file("sub/f", url, cache_dir=cache, **arguments)
    line = f"sub/f sha256:{sha256(b'content')} {url}\n"
    assert path.read_text() == line
    get_file("sub/f", url, cache_dir=tmp_path / "colleague", **arguments)
    with pytest.raises(DigestError) as caught:
        get_file("sub/f", url, cache_dir=tmp_path / "third", **arguments)
    for part in (f"{path}, line 1", sha256(b"content"), sha256(b"tampered"), "remove that line", url):
        assert part in str(caught.value)
    assert not (tmp_path / "third" / "datasets" / "sub" / "f").exists()
    assert path.read_text() == line


def test_a_file_that_is_in_the_cache_already_is_recorded_at_once(server, cache, tmp_path):
    url = server.serve("/f", b"content")
    get_file("f", url, cache_dir=cache)
    for _ in range(2):
        get_file("f", url, cache_dir=cache, lock=tmp_path / "befit.lock", offline=True)
    assert (tmp_path / "befit.lock").read_text() == f"f sha256:{sha256(b'content')} {url}\n"
    assert len(server.seen) == 1


def test_an_argument_is_stronger_than_the_environment(source, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("BEFIT_LOCK", str(tmp_path / "other.lock"))
    get_file("f", source(b"content"), cache_dir=cache, lock=tmp_path / "befit.lock")
    assert (tmp_path / "befit.lock").exists()
    assert not (tmp_path / "other.lock").exists()


def test_a_cached_file_that_differs_is_downloaded_again(server, cache, tmp_path):
    (cache / "datasets").mkdir(parents=True)
    (cache / "datasets" / "f").write_bytes(b"something else")
    (tmp_path / "lock").write_text(f"f {sha256(b'content')}\n")
    path = get_file("f", server.serve("/f", b"content"), cache_dir=cache, lock=tmp_path / "lock")
    assert Path(path).read_bytes() == b"content"


def test_the_name_of_an_archive_that_is_untarred(server, cache, tmp_path, flower):
    url = server.serve("/f", flower)
    for _ in range(2):
        get_file("a/flower", url, untar=True, cache_dir=cache, lock=tmp_path / "lock")
    assert (tmp_path / "lock").read_text() == f"a/flower.tar.gz sha256:{sha256(flower)} {url}\n"


def test_an_absolute_name_is_recorded_without_its_folder(source, tmp_path):
    url = source(b"content")
    get_file(tmp_path / "elsewhere" / "f", url, lock=tmp_path / "lock")
    assert (tmp_path / "lock").read_text() == f"f sha256:{sha256(b'content')} {url}\n"


def test_an_explicit_digest_must_agree(source, cache, tmp_path):
    lock = tmp_path / "lock"
    lock.write_text(f"f sha256:{sha256(b'content')}\n")
    url = source(b"content")
    with pytest.raises(ArgumentError) as caught:
        get_file("f", url, cache_dir=cache, lock=lock, file_hash="0" * 64)
    assert all(text in str(caught.value) for text in ("0" * 64, sha256(b"content"), f"{lock}, line 1"))
    assert get_file("f", url, cache_dir=cache, lock=lock, file_hash=sha256(b"content").upper())


def test_a_digest_by_another_algorithm_is_wanted_as_well(server, cache, tmp_path):
    """A script names an MD5 digest, and the team's lock file has recorded SHA-256."""
    lock, md5 = tmp_path / "lock", hashlib.md5(b"content").hexdigest()
    url = server.serve("/f", b"content")
    for _ in range(2):
        get_file("f", url, cache_dir=cache, lock=lock, md5_hash=md5)
    assert lock.read_text() == f"f sha256:{sha256(b'content')} {url}\n"
    lock.write_text(f"f sha256:{'0' * 64} {url}\n")
    with pytest.raises(DigestError, match="line 1"):
        get_file("f", url, cache_dir=tmp_path / "new", lock=lock, md5_hash=md5)
    assert not (tmp_path / "new" / "datasets" / "f").exists()


def test_a_copy_in_the_private_folder_is_still_recorded_under_its_own_url(
    server, cache, tmp_path, monkeypatch, flower
):
    """The cache can be read only, so the archive is taken from there and its members go elsewhere."""
    url = server.serve("/f", flower)
    get_file("flower.tar.gz", url, cache_dir=cache)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))

    def refusal(file, original=location._refusal):
        return "Permission denied" if file.parent == cache / "datasets" else original(file)

    monkeypatch.setattr(location, "_refusal", refusal)
    with pytest.warns(UserWarning, match="cannot be written"):
        folder = get_file("flower", url, untar=True, cache_dir=cache, lock=tmp_path / "lock")
    assert Path(folder).is_relative_to(tmp_path / "temporary")
    assert (tmp_path / "lock").read_text() == f"flower.tar.gz sha256:{sha256(flower)} {url}\n"
    assert len(server.seen) == 1


# Which line counts


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", None),
        ("# f {sha}\n\n", None),
        ("f {sha}\n", 1),
        ("f sha256:{sha}", 1),
        ("  f   sha256:{SHA}  \r\n", 1),
        ("f {md5}\n", 1),
        ("g {sha}\n# comment\nf {sha}\n", 3),
        ("f {sha} https://example.org/other\n", None),
        ("other {sha} https://example.org/data/f\n", 1),
        ("f {md5}\nother {sha} https://example.org/data/f\n", 2),
        ("f {md5}\nf {sha}\n", 2),
        ("f {md5} https://example.org/data/f\nf {sha} https://example.org/data/f\n", 2),
        ("g xxh128:99aa06d3014798d86001c324468d497f\nf {sha}\n", 2),
        ("x {sha} https://me:secret@example.org/data/f#part\n", 1),
        ("\ufefff {sha}\n", 1),
    ],
)
def test_a_url_counts_more_than_a_name_and_a_later_line_more_than_an_earlier(tmp_path, text, line):
    digits = {"sha": sha256(b"x"), "SHA": sha256(b"x").upper(), "md5": hashlib.md5(b"x").hexdigest()}
    (tmp_path / "lock").write_text(text.format(**digits), encoding="utf-8", newline="")
    found = find_line(tmp_path / "lock", "f", URL)
    assert (found.line and found.line.number) == line
    if line is not None:
        assert found.digest.hexdigest == hashlib.new(found.digest.algorithm, b"x").hexdigest()


@pytest.mark.parametrize(
    "text", ["f", "f {sha} url more", "f 123", "f sha256:xyz", "f md5:{sha}", "'f {sha}"]
)
def test_a_broken_line_is_named(tmp_path, text):
    lock = tmp_path / "lock"
    lock.write_text(f"g {sha256(b'x')}\n" + text.format(sha=sha256(b"x")) + "\n")
    with pytest.raises(ArgumentError, match="line 2") as caught:
        get_file("other", NOWHERE, cache_dir=tmp_path / "cache", lock=lock)
    assert str(lock) in str(caught.value)


def test_an_algorithm_of_other_tools_is_refused_where_it_matters(tmp_path):
    (tmp_path / "lock").write_text("f xxh128:99aa06d3014798d86001c324468d497f\n")
    with pytest.raises(ArgumentError, match=r"line 1: get_file knows digests by md5, .*only"):
        find_line(tmp_path / "lock", "f", URL)


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_a_lock_file_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "lock"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(ArgumentError, match=r"lock.* cannot be read"):
        find_line(path, "f", URL)


# What is written


def test_the_rest_of_the_file_stays_byte_for_byte(tmp_path):
    before = b"# a comment\r\n\r\n  g   md5:%s   # no comment in pooch's format\r\nlast" % (b"0" * 32)
    before = before.replace(b"   # no comment in pooch's format", b"").replace(b"\r\nlast", b"")
    (tmp_path / "lock").write_bytes(before)
    (tmp_path / "lock").chmod(0o640)
    record(find_line(tmp_path / "lock", "f", URL), digest_by())
    expected = before + f"\r\nf sha256:{sha256(b'content')} {URL}\r\n".encode()
    assert (tmp_path / "lock").read_bytes() == expected
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o640


def test_a_link_to_the_lock_file_stays_a_link(tmp_path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "lock").symlink_to("shared/lock")
    record(find_line(tmp_path / "lock", "f", URL), digest_by())
    assert (tmp_path / "lock").is_symlink()
    assert (tmp_path / "shared" / "lock").read_text().startswith("f sha256:")


def test_what_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / ".lock.12345678-999999-0123abcd.part").write_bytes(b"")
    os.utime(tmp_path / ".lock.12345678-999999-0123abcd.part", (1, 1))
    record(find_line(tmp_path / "lock", "f", URL), digest_by())
    assert {path.name for path in tmp_path.iterdir()} == {"lock", ".lock.lock"}


def test_many_at_once_lose_no_line(tmp_path):
    lock = tmp_path / "lock"

    def one(number):
        record(find_line(lock, f"f{number}", f"{URL}{number}"), digest_by())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(40)))
    assert sorted(line.split()[0] for line in lock.read_text().splitlines()) == sorted(
        f"f{number}" for number in range(40)
    )


def test_two_that_download_at_once_must_have_the_same(tmp_path):
    lock = tmp_path / "lock"
    first, second, third = (find_line(lock, "f", URL) for _ in range(3))
    record(first, digest_by(b"content"))
    record(second, digest_by(b"content"))
    with pytest.raises(DigestError, match="line 1"):
        record(third, digest_by(b"other"))
    assert len(lock.read_text().splitlines()) == 1


def test_a_lock_file_that_cannot_be_written_is_named(source, cache, tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(lockfile_module, "part_file", refuse)
    with pytest.raises(ArgumentError, match=r"cannot write the lock file .*lock: Permission denied; enter f"):
        get_file("f", source(b"x"), cache_dir=cache, lock=tmp_path / "lock")


@pytest.mark.parametrize(
    ("url", "written"),
    [
        ("https://me:secret@h/f", "https://h/f"),
        ("https://h/f?a=1&token=secret&b=2#secret", "https://h/f?a=1&b=2"),
        ("https://h/f?X-Amz-Signature=secret&X-Amz-Date=1", "https://h/f"),
        ("https://h/f?se=2026&sig=secret&sp=r", "https://h/f"),
        ("https://h/f?version=3", "https://h/f?version=3"),
    ],
)
def test_nothing_secret_is_written(tmp_path, url, written):
    assert recorded_url(url) == written
    record(find_line(tmp_path / "lock", "f", url), digest_by())
    assert "secret" not in (tmp_path / "lock").read_text()
    assert find_line(tmp_path / "lock", "f", url).line.number == 1
    assert find_line(tmp_path / "lock", "other", written).line.number == 1


def test_two_files_that_differ_in_what_is_left_out_are_not_confused(tmp_path):
    record(find_line(tmp_path / "lock", "a", "https://h/f?key=a"), digest_by())
    assert find_line(tmp_path / "lock", "b", "https://h/f?key=b").line is None
    assert find_line(tmp_path / "lock", "a", "https://h/f?key=new").line.number == 1


def test_the_stamp_has_no_secret_either(server, cache):
    url = server.serve("/f?token=secret", b"content").replace("127", "me:secret@127")
    get_file("f", url, cache_dir=cache)
    assert "secret" not in (cache / "datasets" / ".f.stamp.json").read_text()


def test_a_name_that_no_line_can_hold_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="cannot be written to a lock file"):
        record(find_line(tmp_path / "lock", "a\nb", URL), digest_by())
    assert not (tmp_path / "lock").exists()


@given(st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" '\"\\#"), min_size=1))
def test_whatever_is_written_is_read_again(tmp_path_factory, name):
    lock = tmp_path_factory.mktemp("lock") / "lock"
    record(find_line(lock, name, URL), digest_by())
    assert shlex.split(lock.read_text()) == [name, f"sha256:{sha256(b'content')}", URL]
    assert find_line(lock, name, URL).line.name == name


def test_pooch_reads_what_befit_writes_and_the_other_way_round(tmp_path):
    pooch = pytest.importorskip("pooch")
    lock = tmp_path / "registry.txt"
    for name in ("plain.csv", "with space/it's.csv", "#odd", "ä.csv"):
        record(find_line(lock, name, f"https://h/{name.replace(' ', '%20')}"), digest_by())
    registry = pooch.create(tmp_path, "https://h/", registry=None)
    registry.load_registry(lock)
    assert registry.registry == {
        name: f"sha256:{sha256(b'content')}" for name in ("plain.csv", "with space/it's.csv", "#odd", "ä.csv")
    }
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "f.csv").write_bytes(b"content")
    pooch.make_registry(str(tmp_path / "files"), str(lock))
    assert find_line(lock, "f.csv", "https://h/f.csv").digest == Digest("sha256", sha256(b"content"))
