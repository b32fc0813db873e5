"""How much a disk has room for."""

import math
import shutil

from befit.files import get_file
from befit.files.room import free_bytes


def test_the_room_is_what_the_system_says(tmp_path):
    assert abs(free_bytes(tmp_path) - shutil.disk_usage(tmp_path).free) < 1 << 30


def test_a_file_system_that_does_not_know_its_size_takes_everything(tmp_path, server, cache, monkeypatch):
    nothing = shutil.disk_usage("/")._replace(total=0, free=0)
    monkeypatch.setattr("befit.files.room.shutil.disk_usage", lambda folder: nothing)
    assert free_bytes(tmp_path) == math.inf
    assert get_file("f", server.serve("/f", b"content"), cache_dir=cache)
