"""Long campaigns for ``get_file``: processes killed at random moments, archives damaged at random places."""

from __future__ import annotations

import gzip
import io
import random
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from befit.errors import BefitError
from befit.files import get_file

pytestmark = pytest.mark.soak

KILLS = 300
DAMAGED = 5_000
READY = "import sys; from befit.files import get_file; import befit.files.http; print('ready', flush=True); "
EXTRACT = READY + "get_file('flower', sys.argv[1], untar=True, cache_dir=sys.argv[2], progress=False)"


def members(count: int, size: int) -> dict[str, bytes]:
    random_bytes = random.Random(0).randbytes
    return {f"flower/{i % 7}/{i}.bin": random_bytes(size) for i in range(count)}


def tar_gz(content: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=1) as archive:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def zipped(content: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return stream.getvalue()


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_kill_9_at_random_moments_of_download_and_extraction(tmp_path: Path) -> None:
    """After each kill the next call succeeds, and the folder holds nothing else."""
    content = members(400, 20_000)
    source = tmp_path / "flower.tar.gz"
    source.write_bytes(tar_gz(content))
    chance = random.Random(1)
    killed = 0

    def start(cache: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", EXTRACT, source.as_uri(), str(cache)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        return process

    started = time.perf_counter()
    with start(tmp_path / "whole") as process:
        assert process.wait() == 0
    duration = time.perf_counter() - started
    for number in range(KILLS):
        cache = tmp_path / f"cache{number}"
        with start(cache) as process:
            try:
                process.wait(chance.uniform(0, duration))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                killed += process.wait() == -signal.SIGKILL
        folder = Path(get_file("flower", source.as_uri(), untar=True, cache_dir=cache, progress=False))
        assert tree(folder) == {name.removeprefix("flower/"): data for name, data in content.items()}
        visible = {
            path.name for path in folder.parent.iterdir() if not path.name.endswith((".lock", ".json"))
        }
        assert visible == {"flower", "flower.tar.gz"}
        for path in sorted(cache.rglob("*"), reverse=True):  # the disk shall not fill up
            path.rmdir() if path.is_dir() else path.unlink()
    print(f"\n{killed} of {KILLS} processes were killed before their end")
    assert killed > KILLS // 2


@pytest.mark.parametrize("make", [tar_gz, zipped], ids=["tar.gz", "zip"])
def test_damaged_archives_give_the_right_files_or_an_error(make, tmp_path: Path) -> None:
    """One to four damaged bytes: never wrong data, nothing outside the folder, no other exception."""
    content = members(5, 3_000)
    whole = make(content)
    plain = gzip.decompress(whole) if make is tar_gz else whole
    chance = random.Random(2)
    right = refused = 0
    source = tmp_path / "source"
    for number in range(DAMAGED):
        damaged = bytearray(plain if number % 2 else whole)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        # Every second tar is damaged below a right gzip checksum, which then cannot help.
        source.write_bytes(gzip.compress(damaged, 1) if number % 2 and make is tar_gz else damaged)
        cache = tmp_path / "cache"
        try:
            folder = Path(get_file("flower", source.as_uri(), untar=True, cache_dir=cache, progress=False))
        except BefitError:
            refused += 1
        else:
            found = tree(folder)
            if make is zipped or number % 2 == 0:
                wanted = {name.removeprefix("flower/"): data for name, data in content.items()}
                assert set(found.values()) <= set(wanted.values())
            right += 1
        assert {path.name for path in tmp_path.iterdir()} <= {"source", "cache"}
        for path in sorted(cache.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    print(f"\n{refused} refused, {right} extracted")
    assert refused > DAMAGED // 2
