"""Plain modules with replicas in processes of their own: the numbers, names and modes of the module alone."""

import copy
import gc
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from befit import multi_gpu_model
from befit.errors import ReplicationError
from befit.replicate import simulate_devices

sys.path.append(str(Path(__file__).parent))

from plain_modules import MODULES, check_gradients, check_training, rows

DEVICES = ["cpu:0", "cpu:1", "cpu:2"]


@pytest.fixture(scope="module", autouse=True)
def _processes():
    """Start them once; all models of this file share them."""
    simulate_devices(3, framework="torch")
    warm = replicated(nn.Linear(1, 1))
    warm(torch.zeros(3, 1))
    yield
    warm.release()


def replicated(module):
    return multi_gpu_model(module, devices=DEVICES, engine="processes")


@pytest.mark.parametrize("name", MODULES)
def test_training_gives_the_numbers_of_the_module_alone(name):
    check_training(replicated, name, (8, 7, 1, 2, 9))


def test_gradients_arrive_at_the_template_s_parameters_and_at_the_inputs():
    check_gradients(replicated)


def test_gradients_of_the_inputs_alone():
    """As adversarial training wants them: no parameter has one afterwards."""
    template = MODULES["mlp"]()
    expected, actual = rows(7, 4).requires_grad_(), rows(7, 4).requires_grad_()
    (wanted,) = torch.autograd.grad(template(expected).pow(2).sum(), expected)
    (found,) = torch.autograd.grad(replicated(template)(actual).pow(2).sum(), actual)
    torch.testing.assert_close(found, wanted)
    assert all(parameter.grad is None for parameter in template.parameters())


def test_several_forward_passes_before_one_backward_pass():
    """Each keeps its own inputs, however many are on their way, and other models run in between."""
    template, other = MODULES["mlp"](), nn.Linear(4, 2)
    single = copy.deepcopy(template)
    parallel = replicated(template)
    with_other = replicated(other)
    batches = [rows(size, 4) for size in (7, 3, 12, 7)]
    outputs = [parallel(batch) for batch in batches]
    with_other(batches[0])
    torch.cat(outputs).pow(2).sum().backward()
    torch.cat([single(batch) for batch in batches]).pow(2).sum().backward()
    for left, right in zip(single.parameters(), template.parameters(), strict=True):
        torch.testing.assert_close(right.grad, left.grad, rtol=1e-5, atol=1e-5)


def test_a_graph_is_gone_through_as_often_as_it_is_kept():
    template = MODULES["mlp"]()
    loss = replicated(template)(rows(6, 4)).pow(2).sum()
    loss.backward(retain_graph=True)
    first = [parameter.grad.clone() for parameter in template.parameters()]
    loss.backward()
    for once, parameter in zip(first, template.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, 2 * once)
    with pytest.raises(RuntimeError, match=r"backward through the graph a second time|freed"):
        loss.backward()


class Experts(nn.Module):
    """A row goes to the expert that its first number names."""

    def __init__(self):
        super().__init__()
        self.experts = nn.ModuleList([nn.Linear(2, 2) for _ in range(3)])

    def forward(self, inputs):
        outputs = [self.experts[int(row[0])](row) for row in inputs]
        return torch.stack(outputs)


def test_gradients_that_were_handed_out_stay_as_they_are():
    """Those of a parameter that the caller's own rows do not use come straight from another process."""
    template = Experts()
    parallel = replicated(template)
    batch = torch.tensor([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]])
    kept = torch.autograd.grad(parallel(batch).sum(), list(template.parameters()))
    expected = torch.autograd.grad(template(batch).sum(), list(template.parameters()))
    parallel(batch * 1.25).pow(2).sum().backward()
    parallel(batch * 1.25).pow(2).sum().backward()
    for found, wanted in zip(kept, expected, strict=True):
        torch.testing.assert_close(found, wanted)
    single = copy.deepcopy(template)
    single.zero_grad()
    for _ in range(2):
        single(batch * 1.25).pow(2).sum().backward()
    for left, right in zip(single.parameters(), template.parameters(), strict=True):
        torch.testing.assert_close(right.grad, left.grad)


def test_a_parameter_that_no_replica_uses_has_no_gradient():
    template = Experts()
    replicated(template)(torch.zeros(3, 2)).sum().backward()
    assert template.experts[0].weight.grad is not None
    assert template.experts[2].weight.grad is None


def test_sparse_gradients_are_added_up_densely():
    template = nn.Embedding(5, 3, sparse=True)
    single = copy.deepcopy(template)
    tokens = torch.tensor([0, 1, 1, 4, 3, 1])
    replicated(template)(tokens).pow(2).sum().backward()
    single(tokens).pow(2).sum().backward()
    torch.testing.assert_close(template.weight.grad.to_dense(), single.weight.grad.to_dense())


def test_statistics_of_a_batch_are_those_of_threads():
    expected, actual = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    for batch in (rows(7, 3) + 2, rows(12, 3)):
        outputs = [
            multi_gpu_model(expected, devices=DEVICES, engine="threads")(batch),
            replicated(actual)(batch),
        ]
        torch.testing.assert_close(outputs[1], outputs[0])
    torch.testing.assert_close(actual.state_dict(), expected.state_dict())
    before = copy.deepcopy(actual.state_dict())
    actual.eval()
    torch.testing.assert_close(replicated(actual)(batch), expected.eval()(batch))
    torch.testing.assert_close(actual.state_dict(), before)


class Counts(nn.Module):
    """Makes a buffer at its first call, and a new tensor for it at every other."""

    def forward(self, inputs):
        if not hasattr(self, "count"):
            self.register_buffer("count", torch.zeros(()))
        self.count = self.count + len(inputs)
        return inputs


def test_buffers_that_forward_makes_arrive_at_the_template():
    template = Counts()
    parallel = replicated(template)
    for _ in range(3):
        parallel(rows(6, 2))
    assert template.count == 6  # the mean of 2, 2 and 2 rows, three times


class Draws(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, inputs):
        return self.drop(inputs)


def test_replicas_draw_other_numbers_each_and_a_seed_repeats_them():
    parallel = replicated(Draws())

    def draw():
        torch.manual_seed(7)
        return [parallel(torch.ones(3, 200)) > 0 for _ in range(2)]

    expected = draw()
    drawn = [*expected[0], *expected[1]]
    agreement = [(drawn[i] == drawn[j]).float().mean() for i in range(6) for j in range(i)]
    assert max(agreement) < 0.7, "two replicas or two steps drew the same"
    assert all(torch.equal(left, right) for left, right in zip(draw(), expected, strict=True))
    torch.manual_seed(7)
    alone = Draws()(torch.ones(1, 200)) > 0
    torch.testing.assert_close(expected[0][:1], alone)  # the caller's replica draws what one device draws


class Tuned(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
        self.factor = 1.0
        self.mask = torch.ones(3)

    def forward(self, inputs):
        return self.inner(inputs) * self.factor * self.mask


def test_what_changes_between_two_calls_reaches_every_replica():
    """Also one that had no rows at the call right after the change."""
    template = Tuned().eval()
    parallel = replicated(template)
    batch = rows(9, 3)

    def agree():
        torch.testing.assert_close(parallel(batch), template(batch))

    agree()
    changes = [
        lambda: setattr(template, "factor", 3.0),
        lambda: setattr(template, "mask", torch.tensor([1.0, 0.0, 2.0])),
        lambda: setattr(template.inner[2], "p", 0.9),
        lambda: template.inner[0].weight.data.mul_(2),
        lambda: template.inner[1].running_mean.add_(1),
        lambda: template.load_state_dict({name: value + 1 for name, value in template.state_dict().items()}),
        lambda: template.inner[0].register_forward_hook(lambda module, args, output: output * 2),
        lambda: template.inner.append(nn.Linear(3, 3)),
        lambda: setattr(template.inner[0], "weight", nn.Parameter(torch.eye(3))),
        lambda: parallel.requires_grad_(False),
        lambda: setattr(template, "sign", -1.0),
    ]
    for change in changes:
        change()
        parallel(batch[:1])
        parallel(batch[:2])
        agree()
    assert not parallel(batch).requires_grad
    template.double()
    torch.testing.assert_close(parallel(batch.double()), template(batch.double()))


def test_replicas_run_under_the_caller_s_modes():
    class Witness(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2, 2))

        def forward(self, inputs):
            seen = [
                torch.is_grad_enabled(),
                torch.is_inference_mode_enabled(),
                torch.is_autocast_enabled("cpu"),
            ]
            return (inputs @ self.weight), torch.tensor([seen] * len(inputs))

    parallel = replicated(Witness())
    batch = rows(6, 2)
    for mode, expected in (
        (torch.enable_grad(), [True, False, False]),
        (torch.no_grad(), [False, False, False]),
        (torch.inference_mode(), [False, True, False]),
        (torch.autocast("cpu", torch.bfloat16), [True, False, True]),
    ):
        with mode:
            outputs, seen = parallel(batch)
        assert seen.tolist() == [expected] * 6
        assert outputs.requires_grad == expected[0]
        assert outputs.dtype == (torch.bfloat16 if expected[2] else torch.float32)


def test_differentiating_twice_is_refused():
    parallel = replicated(MODULES["mlp"]())
    batch = rows(6, 4).requires_grad_()
    (gradient,) = torch.autograd.grad(parallel(batch).pow(2).sum(), batch, create_graph=True)
    with pytest.raises(RuntimeError, match=r"once_differentiable|engine='threads'"):
        gradient.pow(2).sum().backward()


def test_memory_is_used_again_and_not_made_anew():
    """Neither descriptors nor mappings grow with the steps, whatever their sizes."""
    template = MODULES["mlp"]()
    parallel = replicated(template)

    def step(size):
        parallel(rows(size, 4)).sum().backward()

    def mappings():
        gc.collect()
        with open("/proc/self/maps") as file:
            return sum("memfd:befit" in line for line in file)

    for size in (64, 3, 50, 64):
        step(size)
    before = mappings()
    for size in (64, 3, 50, 17) * 5:
        step(size)
        parallel(rows(size, 4))  # a graph that is dropped
    assert mappings() <= before + 2


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (lambda: nn.LazyLinear(3), r"has a lazy parameter.*call the module itself once"),
        (lambda: _holding(threading.Lock()), r"cannot be sent to the processes.*engine='threads'"),
    ],
    ids=["lazy", "a lock"],
)
def test_modules_that_cannot_be_sent(module, message):
    template = module()
    with pytest.raises(ReplicationError, match=message):
        replicated(template)(rows(6, 2))
    assert replicated(nn.Linear(2, 2))(rows(6, 2)).shape == (6, 2)


def _holding(value):
    module = nn.Linear(2, 2)
    module.held = value
    return module
