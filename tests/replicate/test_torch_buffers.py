"""Buffers of plain torch modules: what replicas change arrives, and nothing else is written."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from befit import multi_gpu_model
from befit.errors import ReplicationError


def rows(count, *shape):
    return torch.from_numpy(np.random.default_rng(count).normal(size=(count, *shape)).astype("float32"))


class Keeps(nn.Module):
    """Has a buffer, and a way to change it."""

    def __init__(self, buffer, change):
        super().__init__()
        self.register_buffer("kept", buffer)
        self.change = change

    def forward(self, inputs):
        self.change(self, inputs)
        return inputs


def after_one_batch(buffer, change, count=8):
    """Return what 4 replicas leave of a buffer that is two modules deep."""
    template = nn.Sequential(nn.Sequential(Keeps(buffer, change)))
    multi_gpu_model(template, gpus=4)(rows(count, 3))
    return template[0][0].kept


def test_batch_statistics_are_each_replica_s_and_their_means_are_kept():
    template = nn.BatchNorm1d(3, momentum=0.5)
    parallel = multi_gpu_model(template, gpus=4)
    batch = rows(7, 3)
    outputs = parallel(batch[:7].repeat_interleave(2, 0))  # 4 + 4 + 3 + 3 rows
    parts = torch.split(batch.repeat_interleave(2, 0), [4, 4, 3, 3])
    expected = [(part - part.mean(0)) / (part.var(0, correction=0) + template.eps).sqrt() for part in parts]
    torch.testing.assert_close(outputs, torch.cat(expected))
    mean = sum(part.mean(0) * len(part) for part in parts) / 14
    variance = sum(part.var(0) * len(part) for part in parts) / 14
    torch.testing.assert_close(template.running_mean, 0.5 * mean)
    torch.testing.assert_close(template.running_var, 0.5 + 0.5 * variance)
    assert template.num_batches_tracked == 1
    for mode in (torch.no_grad, torch.inference_mode):
        before = copy.deepcopy(template.state_dict())
        parallel.eval()
        with mode():
            assert not parallel(batch).requires_grad
        torch.testing.assert_close(template.state_dict(), before)
        parallel.train()
        with mode():
            parallel(batch.repeat(2, 1))
        assert template.num_batches_tracked == before["num_batches_tracked"] + 1


def test_buffers_that_nobody_changes_stay_to_the_last_bit():
    """A mean of equal numbers would be off by rounding, and a mask of infinities would become NaN."""

    class Constants(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("table", rows(50, 3))
            self.register_buffer("mask", torch.full((3,), -torch.inf))
            self.register_buffer("missing", None)

        def forward(self, inputs):
            return inputs + self.mask

    template = Constants()
    before = copy.deepcopy(template.state_dict())
    multi_gpu_model(template, gpus=3)(rows(7, 3))
    torch.testing.assert_close(template.state_dict(), before, rtol=0, atol=0)


def test_what_autograd_has_saved_of_a_buffer_stays_good():
    template = nn.BatchNorm1d(3).eval()
    parallel = multi_gpu_model(template, gpus=2)
    inputs = rows(4, 3).requires_grad_()
    outputs = template(inputs)
    parallel(rows(4, 3))
    outputs.sum().backward()
    assert inputs.grad.shape == (4, 3)
    # In training the module alone leaves them good as well, although the statistics are others now.
    template.train()
    outputs = template(inputs)
    parallel(rows(4, 3))
    outputs.sum().backward()


def test_a_buffer_that_cannot_be_written_is_left_alone():
    """Seven elements in the memory of one; a sparse matrix; NaN, which equals nothing."""
    for buffer in (torch.ones(1).expand(7), torch.eye(3).to_sparse(), torch.tensor([torch.nan, 1.0])):
        assert after_one_batch(buffer, lambda module, inputs: None) is buffer
        assert buffer._version == 0


def add_in_place(module, inputs):
    module.kept += inputs.mean()


def add_to_data(module, inputs):
    module.kept.data += inputs.mean()


def add_anew(module, inputs):
    module.kept = module.kept + inputs.mean()


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("change", [add_in_place, add_to_data, add_anew])
def test_changes_arrive_however_they_are_made(change, mode):
    start = torch.ones(2)
    with mode():
        kept = after_one_batch(start, change)
    torch.testing.assert_close(kept, 1 + rows(8, 3).mean().expand(2))
    assert (kept is start) == (change is not add_anew)
    assert not kept.is_inference()
    assert not kept.requires_grad


def test_a_tensor_under_two_names_stays_one():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("first", torch.zeros(()))
            self.register_buffer("second", self.first)

        def forward(self, inputs):
            self.first += 1
            self.second += 1
            return inputs

    template = Twice()
    multi_gpu_model(template, gpus=2)(rows(4, 3))
    assert template.first is template.second
    assert template.first == 2


def test_a_buffer_that_was_none_arrives():
    def set_mean(module, inputs):
        module.kept = inputs.mean(0)

    def set_count(module, inputs):
        module.kept = torch.tensor(3)

    torch.testing.assert_close(after_one_batch(None, set_mean), rows(8, 3).mean(0))
    torch.testing.assert_close(after_one_batch(None, set_count), torch.tensor(3))
    assert after_one_batch(torch.ones(2), lambda module, inputs: setattr(module, "kept", None)) is None


def test_another_shape_on_which_all_agree_arrives():
    """Such as a table of positions that has grown."""

    def grow(module, inputs):
        module.kept = torch.arange(5.0)

    torch.testing.assert_close(after_one_batch(torch.arange(3.0), grow), torch.arange(5.0))


def keep_rows(module, inputs):
    module.kept = inputs


def keep_sometimes(module, inputs):
    module.kept = torch.ones(2) if len(inputs) == 2 else None


@pytest.mark.parametrize(
    ("buffer", "change", "message"),
    [
        (torch.ones(3), keep_rows, r"shapes \(2, 3\), \(2, 3\), \(2, 3\), \(1, 3\) in place of \(3,\)"),
        (None, keep_rows, r"shapes \(2, 3\), \(2, 3\), \(2, 3\), \(1, 3\), which cannot be merged"),
        (None, keep_sometimes, r"shapes \(2,\), \(2,\), \(2,\), None"),
    ],
)
def test_shapes_that_cannot_be_merged_are_refused(buffer, change, message):
    with pytest.raises(ReplicationError, match=r"set the buffer '0\.0\.kept' to " + message) as caught:
        after_one_batch(buffer, change, count=7)
    assert "or return it as an output of the module" in str(caught.value)


def test_equal_slices_in_place_of_another_shape_are_refused():
    with pytest.raises(ReplicationError, match=r"'0\.0\.kept' .* in place of \(3,\)"):
        after_one_batch(torch.ones(3), keep_rows)
