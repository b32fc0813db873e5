"""torchrun with two and three processes on this machine: the numbers of one process, and clean ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from befit.errors import ReplicationError
from befit.replicate import initialize

sys.path.insert(0, str(Path(__file__).parent))
import world_launch

pytestmark = pytest.mark.backends


@pytest.fixture(autouse=True)
def _only_on_torch(backend):
    if backend != "torch":
        pytest.skip("torch.distributed is torch's")


@pytest.mark.timeout(240)
@pytest.mark.filterwarnings("ignore:Gradients do not exist:UserWarning")
@pytest.mark.parametrize("count", [2, 3])
def test_every_process_has_the_numbers_of_one(count, tmp_path):
    """Models, modules, FSDP2, saving and what is refused: see world_cases.py."""
    code, output = world_launch.torchrun(
        count, world_launch.PROGRAM, WORLD_RESULTS=str(tmp_path), WORLD_COUNT=str(count)
    )
    assert code == 0, output
    assert "Traceback" not in output
    import world_cases  # it imports Keras

    expected = world_cases.run_alone(count)
    for rank, actual in enumerate(world_launch.results(tmp_path, count)):
        assert actual.keys() == expected.keys(), rank
        world_launch.assert_same(actual, expected)


DYING = """
import os, pathlib, signal
import torch
from befit import multi_gpu_model
from befit.replicate import initialize

world = initialize("torch", timeout=60)
folder = pathlib.Path(os.environ["WORLD_RESULTS"])
(folder / f"{world.rank}.pid").write_text(str(os.getpid()))
model = multi_gpu_model(torch.nn.Linear(2, 2))
model(torch.ones(4, 2))
if world.rank == 1:
    os._exit(3)
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it has to end by itself, before torchrun ends it
for _ in range(1000):
    model(torch.ones(4, 2))
(folder / "went-on").touch()
"""


def test_a_process_that_dies_ends_the_others(tmp_path):
    program = tmp_path / "dying.py"
    program.write_text(DYING)
    began = time.monotonic()
    code, output = world_launch.torchrun(2, program, WORLD_RESULTS=str(tmp_path))
    assert code != 0
    assert "exitcode  : 3" in output, output
    assert time.monotonic() - began < 90
    assert not (tmp_path / "went-on").exists()
    for rank in range(2):
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / f"{rank}.pid").read_text()), 0)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_whose_others_never_come_says_so(rank, monkeypatch):
    """The first one waits for the others, the others for the first one's port."""
    pytest.importorskip("torch")
    port = world_launch.free_port()
    for name in list(os.environ):
        if name.startswith(world_launch.LAUNCHER_VARIABLES):
            monkeypatch.delenv(name)
    variables = {"RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    message = rf"process {rank} of 2 did not meet .* at 127.0.0.1:{port} within 1 s"
    with pytest.raises(ReplicationError, match=message):
        initialize("torch", timeout=1)


def test_a_world_ends_without_a_word(tmp_path):
    """The process group that befit made is destroyed at exit: neither torch nor Python warns."""
    variables = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    program = "import torch; from befit.replicate import initialize; print(initialize())"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=world_launch.environment(**variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "rank=0, size=1" in done.stdout
    assert not done.stderr
