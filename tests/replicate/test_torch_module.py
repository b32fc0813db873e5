"""Plain torch modules: the same outputs, gradients and names as the module alone."""

import copy
import io
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from befit import multi_gpu_model
from befit.errors import ReplicationError

sys.path.append(str(Path(__file__).parent))

from plain_modules import MODULES, check_gradients, check_training, rows


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("name", MODULES)
def test_training_gives_the_numbers_of_the_module_alone(name, count):
    check_training(lambda template: multi_gpu_model(template, gpus=count), name, (8, 7, 1))


def test_gradients_arrive_at_the_template_s_parameters_and_at_the_inputs():
    check_gradients(lambda template: multi_gpu_model(template, gpus=3))


def test_names_state_and_parameters_are_the_template_s():
    template = MODULES["mlp"]()
    template.note = "mine"
    parallel = multi_gpu_model(template, gpus=2)
    assert (
        list(parallel.state_dict())
        == list(template.state_dict())
        == ["0.weight", "0.bias", "2.weight", "2.bias"]
    )
    assert [id(p) for p in parallel.parameters()] == [id(p) for p in template.parameters()]
    assert [name for name, _ in parallel.named_children()] == ["0", "1", "2"]
    assert parallel.note == "mine"
    zeros = {name: torch.zeros_like(value) for name, value in template.state_dict().items()}
    parallel.load_state_dict(zeros)
    assert all((parameter == 0).all() for parameter in template.parameters())
    assert repr(parallel).startswith("ParallelModule(\n  Sequential on cpu:0, cpu:1")
    with pytest.raises(AttributeError):
        _ = parallel.no_such_attribute


def test_modes_types_and_requires_grad_reach_the_template():
    template = nn.Linear(3, 2)
    parallel = multi_gpu_model(template, gpus=2)
    assert parallel.eval().training is False
    assert template.training is False
    assert parallel.train() is parallel
    assert template.training is True
    assert parallel.double() is parallel
    assert template.weight.dtype == torch.float64
    assert parallel(rows(5, 3).double()).dtype == torch.float64
    parallel.requires_grad_(False)
    assert not template.weight.requires_grad
    assert not parallel(rows(5, 3).double()).requires_grad
    parallel.apply(lambda module: nn.init.ones_(module.weight))
    assert (template.weight == 1).all()


@pytest.mark.parametrize("template", [nn.Linear(3, 2), nn.Sequential(nn.Linear(3, 2))])
def test_copies_and_pickles_are_the_plain_module(template):
    parallel = multi_gpu_model(template, gpus=2)
    file = io.BytesIO()
    torch.save(parallel, file)
    file.seek(0)
    for other in (
        copy.deepcopy(parallel),
        pickle.loads(pickle.dumps(parallel)),
        torch.load(file, weights_only=False),
    ):
        assert type(other) is type(template)
        torch.testing.assert_close(other.state_dict(), template.state_dict())


@pytest.mark.parametrize("side_by_side", [True, False], ids=["side by side", "in turn"])
def test_replicas_run_under_the_caller_s_modes(request, side_by_side):
    if side_by_side:
        request.getfixturevalue("a_thread_for_each")
    meeting = threading.Barrier(3 if side_by_side else 1, timeout=60)
    seen = []

    class Witness(nn.Module):
        def forward(self, inputs):
            meeting.wait()  # breaks unless all three replicas run at the same time
            seen.append((len(inputs), torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")))
            return inputs

    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        multi_gpu_model(Witness(), devices="cpu:0..2")(rows(7, 2))
    assert sorted(seen) == [(2, False, True), (2, False, True), (3, False, True)]


def test_a_seed_repeats_a_run_on_the_cpu():
    """Replicas in threads would race for the numbers of the one generator."""
    parallel = multi_gpu_model(nn.Sequential(*[nn.Dropout(0.1) for _ in range(20)]), gpus=4)

    def draw():
        torch.manual_seed(0)
        return parallel(torch.ones(8, 200))

    expected = draw()
    assert all(torch.equal(draw(), expected) for _ in range(20))


@pytest.mark.parametrize("name", ["cpu:1", "cpu"], ids=["side by side", "in turn"])
def test_a_parallel_module_works_in_a_forked_child(name):
    """Threads of the parent are not there; waiting for them would be for ever."""
    script = f"""
import os, signal, sys, warnings, torch
from befit import multi_gpu_model
from befit.integrations.torch import replicate_threads
from befit.replicate import simulate_devices
if {name!r} == "cpu:1":
    replicate_threads.torch_device = lambda name: torch.device("cpu", int(name.partition(":")[2]))
simulate_devices(3, framework="torch")
parallel = multi_gpu_model(torch.nn.Linear(3, 2), gpus=3)
expected = parallel(torch.ones(7, 3))
warnings.simplefilter("ignore")  # CPython's own, about threads and fork
child = os.fork()
if child == 0:
    signal.alarm(30)
    os._exit(0 if torch.equal(parallel(torch.ones(7, 3)), expected) else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_hooks_and_changes_of_the_structure_are_seen():
    template = MODULES["mlp"]()
    parallel = multi_gpu_model(template, gpus=2)
    calls = []
    template[0].register_forward_hook(lambda module, inputs, output: calls.append(len(output)))
    parallel(rows(5, 4))
    assert sorted(calls) == [2, 3]
    template[2] = nn.Linear(6, 9)
    assert parallel(rows(5, 4)).shape == (5, 9)


def test_a_replica_s_error_says_which_and_the_next_batch_is_fine():
    class Refuses(nn.Module):
        def forward(self, inputs):
            if len(inputs) == 1:
                raise RuntimeError("one row is not enough")
            return inputs

    parallel = multi_gpu_model(Refuses(), gpus=4)
    with pytest.raises(RuntimeError, match="one row is not enough") as caught:
        parallel(rows(7, 2))
    assert caught.value.__notes__ == ["raised in replica 3 of 4, on cpu:3"]
    torch.testing.assert_close(parallel(rows(8, 2)), rows(8, 2))


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda inputs: inputs.mean(), r"given 4 rows and returned a tensor of shape \(\)"),
        (lambda inputs: inputs.mean(0), r"given 4 rows and returned a tensor of shape \(2,\)"),
    ],
)
def test_outputs_that_are_not_per_sample_are_refused(forward, message):
    module = nn.Module()
    module.forward = forward
    with pytest.raises(ReplicationError, match=message):
        multi_gpu_model(module, gpus=2)(rows(8, 2))


def test_inputs_of_different_lengths_are_refused():
    parallel = multi_gpu_model(nn.Bilinear(3, 3, 2), gpus=2)
    with pytest.raises(ReplicationError, match=r"the inputs have 4 and 5 rows"):
        parallel(rows(4, 3), rows(5, 3))


def test_a_module_without_tensors_as_inputs_runs_once():
    class Constant(nn.Module):
        def forward(self, count=3):
            return torch.ones(count)

    assert multi_gpu_model(Constant(), gpus=2)().shape == (3,)


def test_modules_that_are_split_already_are_refused():
    parallel = multi_gpu_model(nn.Linear(2, 2), gpus=2)
    with pytest.raises(ReplicationError, match="is replicated already"):
        multi_gpu_model(parallel, gpus=2)
    with pytest.raises(
        ReplicationError, match="DataParallel splits the batch itself; pass the module inside it"
    ):
        multi_gpu_model(nn.DataParallel(nn.Linear(2, 2)), gpus=2)
