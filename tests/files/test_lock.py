"""The lock: one at a time where it works, and no obstacle where it does not."""

import logging
import threading

import pytest

from befit.files.lock import exclusive


def test_one_at_a_time(tmp_path):
    """Counting in a file loses counts if two count at once."""
    counter = tmp_path / "counter"
    counter.write_text("0")

    def work():
        for _ in range(20):
            with exclusive(tmp_path / ".lock"):
                counter.write_text(str(int(counter.read_text()) + 1))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.read_text() == "80"


def test_the_lock_is_free_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), exclusive(tmp_path / ".lock"):
        raise ZeroDivisionError
    with exclusive(tmp_path / ".lock"):
        pass


@pytest.mark.parametrize("obstacle", ["folder", "link"])
def test_without_a_lock_the_work_goes_on(tmp_path, caplog, obstacle):
    path = tmp_path / ".lock"
    if obstacle == "folder":
        path.mkdir()
    else:
        (tmp_path / "victim").write_text("unharmed")
        path.symlink_to("victim")
    done = []
    with caplog.at_level(logging.WARNING), exclusive(path):
        done.append(1)
    assert done == [1]
    assert "cannot lock" in caplog.text
    assert obstacle != "link" or (tmp_path / "victim").read_text() == "unharmed"
