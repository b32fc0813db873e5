"""Plain modules with replicas in processes: whose memory it is, whose turn, and values of every kind."""

import collections
import copy
import dataclasses
import gc
import os
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from befit import multi_gpu_model
from befit.errors import ReplicationError
from befit.integrations.torch.replicate_wire import pack
from befit.replicate import simulate_devices

sys.path.append(str(Path(__file__).parent))

from plain_modules import rows

DEVICES = ["cpu:0", "cpu:1"]


@pytest.fixture(scope="module", autouse=True)
def _processes():
    """Start them once; all models of this file share them."""
    simulate_devices(3, framework="torch")
    warm = replicated(nn.Linear(1, 1))
    warm(torch.zeros(2, 1))
    yield
    warm.release()


def replicated(module, devices=DEVICES):
    return multi_gpu_model(module, devices=devices, engine="processes")


def mlp():
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))


def assert_same_gradients(build, step, devices=DEVICES):
    """Do the same with a module and with its parallel model, and compare what the parameters got."""
    template = build()
    single = copy.deepcopy(template)
    step(single)
    step(replicated(template, devices))
    for left, right in zip(single.parameters(), template.parameters(), strict=True):
        assert (left.grad is None) == (right.grad is None)
        if left.grad is not None:
            torch.testing.assert_close(right.grad, left.grad, rtol=1e-5, atol=1e-5)


class Applies(nn.Module):
    """Applies a function to a linear layer and the inputs."""

    def __init__(self, function):
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.function = function

    def forward(self, *inputs):
        return self.function(self.inner, *inputs)


class Experts(nn.Module):
    """A row goes to the expert that its first number names."""

    def __init__(self):
        super().__init__()
        self.experts = nn.ModuleList([nn.Linear(2, 2) for _ in range(2)])

    def forward(self, inputs):
        return torch.stack([self.experts[int(row[0])](row) for row in inputs])


def test_a_gradient_that_became_grad_is_not_written_to_again():
    """That of a parameter which only the other process uses is kept by autograd as it is."""
    batch = torch.tensor([[0.0, 1.0], [1.0, 1.0]])

    def accumulate(module):
        for factor in (1.0, 1.5, 1.2):
            module(batch * torch.tensor([1.0, factor])).pow(2).sum().backward()

    assert_same_gradients(Experts, accumulate)


def test_checkpoints_repeat_the_forward_pass_in_the_middle_of_the_backward_pass():
    def outside(module):
        checkpoint(module, rows(6, 4), use_reentrant=False).pow(2).sum().backward()

    def in_the_old_way(module):
        checkpoint(module, rows(6, 4).requires_grad_(), use_reentrant=True).pow(2).sum().backward()

    def inside(inner, inputs):
        return checkpoint(lambda value: torch.tanh(inner(value)), inputs, use_reentrant=False)

    assert_same_gradients(mlp, outside)
    assert_same_gradients(mlp, in_the_old_way)
    assert_same_gradients(lambda: Applies(inside), lambda module: module(rows(6, 4)).sum().backward())


def test_threads_that_train_models_on_the_same_devices():
    def train(seed, errors):
        try:
            template = mlp()
            single, parallel = copy.deepcopy(template), replicated(template)
            for step in range(20):
                for module in (single, parallel):
                    module.zero_grad()
                    module(rows(6, 4) * (step + seed)).pow(2).mean().backward()
                for left, right in zip(single.parameters(), template.parameters(), strict=True):
                    torch.testing.assert_close(right.grad, left.grad, rtol=1e-4, atol=1e-4)
        except BaseException as error:  # noqa: BLE001 - of another thread
            errors.append(error)

    errors = []
    threads = [threading.Thread(target=train, args=(seed, errors), daemon=True) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert errors == []


def test_a_replicated_model_within_another_one_is_refused():
    outer = replicated(nn.Sequential(replicated(nn.Linear(4, 4)), nn.Tanh()))
    with pytest.raises(ReplicationError, match="calls another one, which is replicated on the same devices"):
        outer(rows(6, 4))
    assert replicated(mlp())(rows(6, 4)).shape == (6, 2)


class _Leaves(torch.autograd.Function):
    """Raises on the way back, in the caller's process only."""

    @staticmethod
    def forward(ctx, inputs, caller):
        ctx.caller = caller
        return inputs.clone()

    @staticmethod
    def backward(ctx, gradient):
        if os.getpid() == ctx.caller:
            raise ValueError("left in the middle")
        return gradient, None


def test_a_backward_pass_that_is_left_in_the_middle_leaves_nothing():
    caller = os.getpid()
    parallel = replicated(Applies(lambda inner, inputs: _Leaves.apply(inner(inputs), caller)))

    def mappings():
        gc.collect()
        with open("/proc/self/maps") as file:
            return sum("memfd:befit" in line for line in file)

    def leave():
        with pytest.raises(ValueError, match="left in the middle"):
            parallel(rows(6, 4)).sum().backward()

    leave()
    before = mappings()
    for _ in range(12):
        leave()
    assert mappings() <= before + 2
    assert_same_gradients(mlp, lambda module: module(rows(6, 4)).sum().backward())


def test_the_threads_of_the_caller_are_as_many_as_before_the_first_processes():
    first, second = (replicated(nn.Linear(4, 4), ["cpu:0", other]) for other in ("cpu:1", "cpu:2"))
    # Those of this file run already, and have taken their share.
    shared = torch.get_num_threads()
    first(rows(2, 4))
    second(rows(2, 4))
    first.release()
    second.release()
    assert torch.get_num_threads() == shared


def test_a_kept_model_changes_its_hooks_and_settings():
    template = nn.Linear(4, 4)
    parallel = replicated(template)
    handle = template.register_forward_hook(lambda module, args, output: output * 2)
    torch.testing.assert_close(parallel(rows(6, 4)), template(rows(6, 4)))
    handle.remove()
    template.register_forward_hook(lambda module, args, output: output * 5)
    torch.testing.assert_close(parallel(rows(6, 4)), template(rows(6, 4)))
    template.register_full_backward_pre_hook(lambda module, gradients: (gradients[0] * 2,))
    found = []
    for module in (template, parallel):
        template.zero_grad()
        module(rows(6, 4).requires_grad_()).sum().backward()
        found.append(template.weight.grad.clone())
    torch.testing.assert_close(found[1], found[0])


def test_settings_that_change_between_two_calls_reach_the_replicas():
    def witness(inner, inputs):
        made = torch.zeros(())
        return torch.tensor([[made.element_size(), made.is_meta]], device="cpu").expand(len(inputs), 2)

    parallel = replicated(Applies(witness))
    assert parallel(rows(4, 4)).tolist() == [[4, 0]] * 4
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        seen = parallel(rows(4, 4))
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert seen.tolist() == [[8, 1]] * 4
    assert parallel(rows(4, 4)).tolist() == [[4, 0]] * 4


def test_inputs_that_are_no_leaves_may_be_written_to():
    found = []
    template = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 2))
    for module in (template, replicated(template)):
        scale = torch.ones(4, requires_grad=True)
        module(rows(6, 4) * scale).pow(2).sum().backward()
        found.append(scale.grad)
    torch.testing.assert_close(found[1], found[0])


Named = type("Named", (torch.Tensor,), {"__module__": "__main__"})  # so that it travels by value


def test_tensors_of_a_class_of_their_own_have_gradients():
    template = Applies(lambda inner, inputs: (inner(inputs).as_subclass(Named), type(inputs).__name__))
    found = []
    for module in (copy.deepcopy(template), replicated(template)):
        inputs = rows(6, 4).as_subclass(Named).requires_grad_()
        outputs, name = module(inputs)
        assert type(outputs) is Named
        assert name == "Named"
        outputs.pow(2).sum().backward()
        found.append((inputs.grad, module.inner.weight.grad))
    torch.testing.assert_close(found[1], found[0])


def test_weights_that_are_no_parameters_have_gradients():
    """As torch.func.functional_call puts them in, and as a buffer may be one."""

    def meta(module):
        scale = torch.ones((), requires_grad=True)
        weights = {name: value * scale for name, value in module.named_parameters()}
        torch.func.functional_call(module, weights, (rows(6, 4),)).sum().backward()
        scales.append(scale.grad)

    scales = []
    assert_same_gradients(lambda: nn.Linear(4, 2), meta)
    torch.testing.assert_close(scales[1], scales[0])

    def with_buffer(inner, inputs):
        return inner(inputs) * inner.scale

    template = Applies(with_buffer)
    template.inner.register_buffer("scale", torch.ones(4, requires_grad=True))
    single = copy.deepcopy(template)
    for module in (single, replicated(template)):
        module(rows(6, 4)).pow(2).sum().backward()
    torch.testing.assert_close(template.inner.scale.grad, single.inner.scale.grad)


def test_a_sparse_buffer_is_refused():
    template = nn.Linear(4, 4)
    template.register_buffer("graph", torch.eye(4).to_sparse())
    with pytest.raises(ReplicationError, match=r"sparse parameter or buffer.*engine='threads'"):
        replicated(template)(rows(6, 4))


@dataclasses.dataclass
class Output:
    logits: torch.Tensor


class Mapped(dict):
    """A dict that torch does not look into."""


Pair = collections.namedtuple("Pair", "left right")


def test_outputs_that_torch_cannot_look_into_are_refused():
    for make in (Output, lambda value: Mapped(logits=value)):
        parallel = replicated(Applies(lambda inner, inputs, make=make: make(inner(inputs))))
        with pytest.raises(
            ReplicationError, match=r"returned a (Output|Mapped), in which torch does not see"
        ):
            parallel(rows(6, 4))
    pair = replicated(Applies(lambda inner, inputs: Pair(inner(inputs), inputs)))(rows(6, 4))
    assert type(pair) is Pair
    assert pair.left.shape == (6, 4)


@pytest.mark.parametrize(
    "dtype",
    [torch.bool, torch.bfloat16, torch.complex64, torch.int8, torch.uint16, torch.float8_e4m3fn],
    ids=str,
)
def test_values_of_every_type_and_shape(dtype):
    parallel = replicated(Applies(lambda inner, inputs: (inputs, inputs[:, :0])))
    for size in (0, 1, 2, 5):
        batch = torch.ones(4, size).to(dtype).t()  # with gaps
        same, nothing = parallel(batch)
        assert same.dtype == nothing.dtype == dtype
        assert nothing.shape == (size, 0)
        assert torch.equal(same.to(torch.complex64), batch.to(torch.complex64))


def test_outputs_that_are_inputs_and_inputs_that_are_one():
    inputs = rows(6, 4).requires_grad_()
    outputs = replicated(Applies(lambda inner, left, right: (left, right, left * right)))(inputs, inputs)
    sum(output.sum() for output in outputs).backward()
    torch.testing.assert_close(inputs.grad, 2 + 2 * inputs.detach())


def test_classes_of_the_main_module_travel_whole(monkeypatch):
    """The main module of the other process is another one."""
    kind = type("Mine", (), {"__module__": "__main__"})
    monkeypatch.setattr("__main__.Mine", kind, raising=False)
    pickled, _ = pack(kind())
    monkeypatch.delattr("__main__.Mine")
    assert b"_make_skeleton_class" in pickled


def test_a_model_that_does_not_arrive_takes_no_graph_with_it():
    """The numbers of models and those of forward passes are counted apart."""
    parallel = replicated(mlp())
    outputs = [parallel(rows(4, 4)) for _ in range(60)]
    for _ in range(3):
        with pytest.raises(RuntimeError, match="not here"):
            replicated(Unreadable())(rows(4, 4))
    sum(output.sum() for output in outputs).backward()


def _refuse(sender):
    if os.getpid() != sender:
        raise RuntimeError("not here")


class Unreadable(nn.Linear):
    """Can be sent, and not be received."""

    def __init__(self):
        super().__init__(4, 4)

    def __reduce__(self):
        return _refuse, (os.getpid(),)
