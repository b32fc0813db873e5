"""Replicas in processes of their own that fail, are killed, released, forked and interrupted."""

import functools
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest
import torch
from torch import nn

from befit import multi_gpu_model
from befit.errors import ReplicaDiedError, ReplicationError
from befit.replicate import simulate_devices

DEADLINE = 60  # seconds until a test gives up waiting for something that must happen


@pytest.fixture(scope="module", autouse=True)
def _devices():
    simulate_devices(3, framework="torch")


def replicated(module, devices="cpu:0..1"):
    return multi_gpu_model(module, devices=devices, engine="processes")


def gone(pid):
    """Wait until a process has ended, and its parent has taken note of it."""
    until = time.monotonic() + DEADLINE
    while time.monotonic() < until:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


class Fails(nn.Module):
    """Raises where the first number of a row is negative; kills its process where it is above 100."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, inputs):
        if (inputs < -1000).any():
            raise torch.OutOfMemoryError("no room for 3 EiB")
        if (inputs < 0).any():
            raise ValueError("a row is negative")
        if (inputs > 100).any():
            os.kill(os.getpid(), signal.SIGKILL)
        return _Deadly.apply(inputs * self.weight)


class _Deadly(torch.autograd.Function):
    """Kills its process on the way back where a gradient is above 100, and raises where one is negative."""

    @staticmethod
    def forward(ctx, inputs):
        return inputs.clone()

    @staticmethod
    def backward(ctx, gradient):
        if (gradient > 100).any():
            os.kill(os.getpid(), signal.SIGKILL)
        if (gradient < 0).any():
            raise ValueError("a gradient is negative")
        return gradient


@pytest.fixture
def parallel():
    module = replicated(Fails())
    yield module
    module.release()


def batch(second=1.0):
    """Return 2 + 2 rows, whose last number is of the second replica."""
    rows = torch.ones(4, 2)
    rows[3, 1] = second
    return rows


def works(parallel):
    parallel.zero_grad()
    parallel(batch()).sum().backward()
    torch.testing.assert_close(parallel.template.weight.grad, torch.tensor([4.0, 4.0]))
    return True


def test_an_error_keeps_its_type_and_says_which_replica_raised_it(parallel):
    with pytest.raises(ValueError, match="a row is negative") as caught:
        parallel(batch(-1.0))
    notes = "\n".join(caught.value.__notes__)
    assert "raised in replica 1 of 2, on cpu:1" in notes
    assert "in forward" in notes, "the traceback of the other process"
    with pytest.raises(ValueError, match="a row is negative") as caught:
        parallel(-batch())
    assert caught.value.__notes__ == ["raised in replica 0 of 2, on cpu:0"]
    outputs = parallel(batch())
    with pytest.raises(ValueError, match="a gradient is negative") as caught:
        outputs[3].neg().sum().backward()
    assert "raised in replica 1 of 2, on cpu:1" in "\n".join(caught.value.__notes__)
    pids = parallel.replica_pids
    assert works(parallel)
    assert parallel.replica_pids == pids, "an error of the model is no reason to start anew"


def test_out_of_memory_says_where_and_what_to_do(parallel):
    with pytest.raises(torch.OutOfMemoryError, match="no room for 3 EiB") as caught:
        parallel(batch(-2000.0))
    notes = "\n".join(caught.value.__notes__)
    assert "raised in replica 1 of 2, on cpu:1" in notes
    assert "smaller batch" in notes
    assert works(parallel)


@pytest.mark.parametrize("when", ["forward", "backward", "between", "before the next step"])
def test_a_killed_process_is_named_and_the_weights_are_safe(parallel, when):
    assert works(parallel)
    before = parallel.template.weight.detach().clone()
    pids = parallel.replica_pids
    if when == "before the next step":
        os.kill(pids[0], signal.SIGKILL)
        assert gone(pids[0])
    with pytest.raises(ReplicaDiedError) as caught:  # noqa: PT012 - one of these, according to `when`
        outputs = parallel(batch(101.0 if when == "forward" else 1.0))
        if when == "between":
            os.kill(pids[0], signal.SIGKILL)
            assert gone(pids[0])
        (outputs[3] * (1000.0 if when == "backward" else 1.0)).sum().backward()
    assert str(caught.value).startswith(
        "the process of replica 1, on cpu:1, was killed by SIGKILL (out of memory?); the batch in work is "
        "lost, and the weights are those from before it"
    )
    torch.testing.assert_close(parallel.template.weight.detach(), before)
    assert works(parallel), "new processes"
    assert parallel.replica_pids != pids


def test_a_graph_of_processes_that_have_ended(parallel):
    outputs = parallel(batch())
    parallel.release()
    with pytest.raises(ReplicationError, match=r"have been ended since; call the model again"):
        outputs.sum().backward()
    assert works(parallel)
    with pytest.raises(ReplicationError, match=r"have been ended since"):
        parallel(batch()).sum().backward(parallel.release())


def test_models_on_the_same_devices_share_processes_and_the_last_one_ends_them():
    first, second = replicated(nn.Linear(2, 2)), replicated(Fails())
    assert first.replica_pids == []
    first(batch())
    second(batch())
    (pid,) = first.replica_pids
    assert second.replica_pids == [pid]
    first.release()
    assert first.replica_pids == []
    assert works(second)
    assert second.replica_pids == [pid]
    second.release()
    assert gone(pid)
    first(batch())
    (pid,) = first.replica_pids
    del first
    assert gone(pid), "with the last model"


def test_processes_have_their_share_of_the_threads():
    before = torch.get_num_threads()
    parallel = replicated(nn.Linear(2, 2))
    parallel(batch())
    assert torch.get_num_threads() == max(1, before // 2)
    parallel.release()
    assert torch.get_num_threads() == before


def test_ctrl_c_in_the_middle_of_a_step(parallel):
    """The answers of the step that was left must not be taken for those of the next one."""

    class Interrupted(nn.Module):
        def forward(self, inputs):
            if threading.current_thread() is threading.main_thread() and len(seen) == 0:
                seen.append(1)
                raise KeyboardInterrupt
            return inputs * 2

    seen = [1]
    twice = replicated(Interrupted())
    assert torch.equal(twice(batch(5.0)), 2 * batch(5.0))
    hook = twice.template.register_forward_pre_hook(functools.partial(_raise_interrupt, os.getpid()))
    with pytest.raises(KeyboardInterrupt):
        twice(batch(7.0))
    hook.remove()
    assert torch.equal(twice(batch(5.0)), 2 * batch(5.0))
    twice.release()


def _raise_interrupt(caller, module, args):
    if os.getpid() == caller:
        raise KeyboardInterrupt


def run_script(tmp_path, text, **settings):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(text))
    return subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **settings
    )


SCRIPT = """
    import os, signal, sys
    import torch
    from befit import multi_gpu_model
    from befit.replicate import simulate_devices

    simulate_devices(2, framework="torch")

    class Mine(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.Linear(2, 2)

        def forward(self, inputs):
            return self.inner(inputs) * FACTOR

    FACTOR = 2
    model = multi_gpu_model(Mine(), 2, engine="processes")
    model(torch.ones(4, 2)).sum().backward()
    print(*model.replica_pids, flush=True)
"""


def test_a_script_needs_no_main_guard_and_leaves_nothing_behind(tmp_path):
    """Its classes, of the main module, reach the processes; at its end they end."""
    running = run_script(tmp_path, SCRIPT)
    output, errors = running.communicate(timeout=DEADLINE)
    assert running.returncode == 0, errors
    assert errors == ""
    assert gone(int(output))


def test_processes_end_with_a_caller_that_is_killed_and_survive_its_forked_children(tmp_path):
    running = run_script(
        tmp_path,
        SCRIPT
        + """
    child = os.fork()
    if child == 0:
        del model
        import gc
        gc.collect()
        sys.exit(0)
    os.waitpid(child, 0)
    model(torch.ones(4, 2)).sum().backward()
    print("still there", flush=True)
    signal.pause()
    """,
    )
    try:
        pid = int(running.stdout.readline())
        assert running.stdout.readline() == "still there\n", running.stderr.read()
        running.kill()
        assert gone(pid)
    finally:
        running.kill()
        running.communicate(timeout=DEADLINE)


def test_a_process_that_cannot_start(monkeypatch):
    monkeypatch.setattr("befit._internal.child._START", "import sys; sys.exit(3)")
    with pytest.raises(ReplicaDiedError, match="replica 1, on cpu:2, ended itself with exit code 3"):
        replicated(nn.Linear(2, 2), devices=["cpu:0", "cpu:2"])(batch())
