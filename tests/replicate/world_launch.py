"""Launches the cases of ``world_cases.py`` in several processes; what each of them runs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
PROGRAM = Path(__file__)
LIMIT = 110.0  # seconds
LAUNCHER_VARIABLES = (
    "RANK", "WORLD_SIZE", "LOCAL_", "MASTER_", "KERAS_DISTRIBUTION_", "JAX_COORDINATOR_", "OMPI_", "PMI_",
    "MPI_LOCAL", "SLURM_", "GROUP_", "ROLE_", "TORCHELASTIC_", "CUDA_VISIBLE_DEVICES",
)  # fmt: skip
PROCESS = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}  # on one core, on the loopback device
# Keras imports them wherever they are installed, which takes longer than all cases together.
WITHOUT = ("sklearn", "tensorflow")


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def environment(**settings):
    """Return the environment of a process that nobody has launched."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHER_VARIABLES)}
    return plain | PROCESS | settings


def run_all(commands):
    """Run (command, environment) side by side, each in a session of its own; return codes and outputs."""
    processes = [
        subprocess.Popen(
            command,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        for command, env in commands
    ]
    try:
        outputs = [process.communicate(timeout=LIMIT)[0] for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:  # the launcher and all that it has started
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return [process.returncode for process in processes], outputs


def torchrun(count, program, **settings):
    """Run a file in ``count`` processes under torchrun; return its code and output."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    codes, outputs = run_all([([*command, str(program)], environment(**settings))])
    return codes[0], outputs[0]


def results(folder, count):
    """Return what each process wrote."""
    return [dict(np.load(folder / f"results-{rank}.npz")) for rank in range(count)]


def assert_same(actual, expected):
    assert actual.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(actual[name], values, rtol=1e-5, atol=1e-5, err_msg=name)


def main():
    """Run the cases in this process, and write its numbers into a file."""
    sys.modules.update(dict.fromkeys(WITHOUT))  # as if they were not installed
    import world_cases

    from befit.replicate import initialize

    world = initialize(timeout=60)
    folder = Path(os.environ["WORLD_RESULTS"])
    numbers = world_cases.run(world, int(os.environ["WORLD_COUNT"]), folder)
    np.savez(folder / f"results-{world.rank}.npz", **numbers)


if __name__ == "__main__":
    main()
