"""Contenders that train a plain torch module, and what torch's own copies and sums cost."""

from __future__ import annotations

from typing import Any

from benchmarks.replicate_models import (
    LEARNING_RATE,
    Clock,
    least_seconds,
    numbers,
    replica_pids,
    torch_module,
)


class Module:
    """A torch module in the usual loop.

    ``how`` is "one", befit's "processes" or "threads", torch's "ddp" or "dataparallel", or "accelerate".
    """

    def __init__(self, how: str, *, devices: str | list[str], count: int, rank: int) -> None:
        import torch

        torch.set_num_threads(1)
        self.how, self.count, self.devices, self.rank = how, count, devices, rank
        self.on_gpu = "gpu" in str(devices)
        self.device = torch.device("cuda", rank) if self.on_gpu else torch.device("cpu")
        self.parallel: Any = None
        if self.on_gpu:
            torch.cuda.set_device(self.device)
        elif how in ("processes", "threads"):
            from befit.replicate import simulate_devices

            simulate_devices(count, framework="torch")
        if how == "ddp":
            torch.distributed.init_process_group("nccl" if self.on_gpu else "gloo")
        if how == "accelerate":
            from accelerate import Accelerator

            self.accelerator = Accelerator(cpu=not self.on_gpu)

    def build(self, work: str) -> None:
        import torch

        self.release()
        self.work = work
        self.template = torch_module(work).to(self.device)
        self.optimizer = torch.optim.Adam(self.template.parameters(), LEARNING_RATE, foreach=True)
        self.model = self.template
        if self.how in ("processes", "threads"):
            from befit import multi_gpu_model

            self.model = self.parallel = multi_gpu_model(self.template, devices=self.devices, engine=self.how)
        elif self.how == "ddp":
            self.model = torch.nn.parallel.DistributedDataParallel(
                self.template, device_ids=[self.rank] if self.on_gpu else None
            )
        elif self.how == "dataparallel":
            self.model = torch.nn.DataParallel(self.template, list(range(self.count)))
        elif self.how == "accelerate":
            self.model, self.optimizer = self.accelerator.prepare(self.template, self.optimizer)

    def run(self, steps: int, rows: int, clock: Clock) -> None:
        """Train for one step, and then for ``steps`` while the clock runs."""
        import torch

        own = rows // self.count if self.how in ("ddp", "accelerate") else rows
        x, y = map(torch.from_numpy, numbers(self.work, own))
        if x.ndim == 4:
            x = x.permute(0, 3, 1, 2).contiguous()
        x, y = x.to(self.device), y.long().to(self.device)
        loss: Any = None
        for done in range(steps + 1):
            if done == 1:
                clock.start()
            self.optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(self.model(x), y)
            if self.how == "accelerate":
                self.accelerator.backward(loss)
            else:
                loss.backward()
            self.optimizer.step()
        clock.stop(loss)

    def pids(self) -> list[int]:
        """Return the processes of the replicas, other than this one."""
        return replica_pids(self.parallel, self.how)

    def release(self) -> None:
        if self.parallel is not None:
            getattr(self.parallel, "release", lambda: None)()

    def shapes(self) -> list[tuple[int, ...]]:
        return [tuple(parameter.shape) for parameter in self.template.parameters()]

    def optimizer_seconds(self, times: int) -> float:
        """Return what applying gradients costs on one device."""
        self.run(1, 2, Clock([]))
        return least_seconds(self.optimizer.step, times)

    def collective_seconds(self, times: int) -> float:
        """Return what adding up the gradients over all ranks costs, while they do nothing else."""
        return sum_seconds(self.shapes(), times, self.device)


def sum_seconds(shapes: list[tuple[int, ...]], times: int, device: Any = "cpu") -> float:
    """Return the seconds of an all-reduce of one flat array: what DDP sends as well."""
    import torch

    flat = torch.ones(sum(torch.Size(shape).numel() for shape in shapes), device=device)

    def add() -> None:
        torch.distributed.all_reduce(flat)
        flat[:1].item()  # waits for a GPU

    return least_seconds(add, times)


def exchange_seconds(shapes: list[tuple[int, ...]], times: int) -> tuple[float, float]:
    """Return what it costs to copy one replica's gradients to shared memory, and to add them to another's."""
    import torch

    ours, theirs = ([torch.ones(shape) for shape in shapes] for _ in range(2))
    there = [torch.ones(shape).share_memory_() for shape in shapes]

    def copy() -> None:
        for one, other in zip(there, theirs, strict=True):
            one.copy_(other)

    def add() -> None:
        for one, other in zip(ours, there, strict=True):
            one.add_(other)

    return least_seconds(copy, times), least_seconds(add, times)
