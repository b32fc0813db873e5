"""What threads, asyncio tasks and worker processes see of the blocks around them."""

from __future__ import annotations

import asyncio
import multiprocessing
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest

from befit.errors import SerializationError
from befit.objects import CustomObjectScope, get_custom_objects, in_scope, scope_initializer
from befit.objects.layers import open_layers

CLEAN_STARTS = [method for method in multiprocessing.get_all_start_methods() if method != "fork"]


def read_a() -> object:
    return get_custom_objects().get("a")


def test_a_thread_has_scopes_of_its_own():
    seen = []
    with CustomObjectScope({"a": 1}):
        thread = threading.Thread(target=lambda: seen.append(read_a()))
        thread.start()
        thread.join()
    if not getattr(sys.flags, "thread_inherit_context", False):
        assert seen == [None]


def test_two_threads_with_interleaved_blocks():
    barrier = threading.Barrier(2, timeout=20)

    def work(number: int, ends_first: bool) -> list[object]:
        barrier.wait()
        with CustomObjectScope({"a": number, f"only_{number}": number}):
            barrier.wait()
            seen = [read_a(), get_custom_objects().get(f"only_{1 - number}")]
            get_custom_objects()["a"] = number + 10
            barrier.wait()
            seen.append(read_a())
            if not ends_first:
                barrier.wait()
        if ends_first:
            barrier.wait()
        return [*seen, read_a()]

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(work, 0, True), pool.submit(work, 1, False)
        assert first.result() == [0, None, 10, None]
        assert second.result() == [1, None, 11, None]


def test_two_threads_with_interleaved_blocks_of_one_instance():
    """A decorated function that runs in two threads at once."""
    scope = CustomObjectScope({"a": 1})
    barrier = threading.Barrier(2, timeout=20)

    def work(number: int, ends_first: bool) -> tuple[object, object]:
        if ends_first:
            barrier.wait()  # the other block begins first, so it is not the last one to begin
        scope.__enter__()
        get_custom_objects()["a"] = number
        if not ends_first:
            barrier.wait()
        barrier.wait()
        if not ends_first:
            scope.__exit__(None, None, None)
        barrier.wait()
        seen = read_a()
        if ends_first:
            scope.__exit__(None, None, None)
        return seen, read_a()

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(work, 0, False), pool.submit(work, 1, True)
        assert first.result() == (None, None)
        assert second.result() == (1, None)


def test_two_interleaved_tasks():
    async def main() -> list[object]:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def first() -> list[object]:
            with CustomObjectScope({"a": 1}):
                begun.set()
                await asyncio.sleep(0)
                seen = [read_a()]
                await ended.wait()
                return [*seen, read_a()]

        async def second() -> list[object]:
            await begun.wait()
            with CustomObjectScope({"a": 2}):
                await asyncio.sleep(0)
                seen = [read_a()]
            ended.set()
            return [*seen, read_a()]

        return await asyncio.gather(first(), second())

    assert asyncio.run(main()) == [[1, 1], [2, None]]


def test_a_task_sees_the_block_that_started_it_until_the_block_ends():
    async def main() -> list[object]:
        go_on = asyncio.Event()

        async def task() -> list[object]:
            seen = [read_a()]
            await go_on.wait()
            return [*seen, read_a()]

        with CustomObjectScope({"a": 1}):
            running = asyncio.create_task(task())
            await asyncio.sleep(0)
        go_on.set()
        return await running

    assert asyncio.run(main()) == [1, None]


def test_to_thread_takes_the_scope_along():
    async def main() -> object:
        with CustomObjectScope({"a": 1}):
            return await asyncio.to_thread(read_a)

    assert asyncio.run(main()) == 1


def test_in_scope_carries_the_open_scopes_to_any_thread():
    with ThreadPoolExecutor(1) as pool:
        with CustomObjectScope({"a": 1, "b": 1}), CustomObjectScope({"b": 2}):
            read = in_scope(lambda: (read_a(), get_custom_objects().get("b")))
            assert pool.submit(read).result() == (1, 2)
        assert pool.submit(read).result() == (1, 2)  # the names of then, not of now
        assert pool.submit(read_a).result() is None


def test_in_scope_also_carries_what_was_deleted_or_cleared():
    get_custom_objects()["process_wide"] = 1
    try:
        with CustomObjectScope({"a": 1}):
            with CustomObjectScope():
                del get_custom_objects()["process_wide"]
                without_one = in_scope(lambda: "process_wide" in get_custom_objects())
            with CustomObjectScope():
                get_custom_objects().clear()
                without_all = in_scope(lambda: len(get_custom_objects()))
        assert not without_one()
        assert without_all() == 0
    finally:
        del get_custom_objects()["process_wide"]


def test_in_scope_takes_coroutine_functions():
    async def read() -> object:
        await asyncio.sleep(0)
        return read_a()

    with CustomObjectScope({"a": 1}):
        wrapped = in_scope(read)
    assert asyncio.run(wrapped()) == 1


def test_initializer_opens_the_scopes_in_a_thread():
    def work() -> object:
        initializer("worker number, as torch passes it")
        return read_a()

    with CustomObjectScope({"a": 1}):
        initializer = scope_initializer()
    # A context of its own stands for the worker that never ends its block.
    context = copy_context()
    assert context.run(work) == 1
    assert read_a() is None
    context.run(close_innermost)


def close_innermost() -> None:
    open_layers()[-1].owner.__exit__(None, None, None)


IN_A_WORKER = """
import multiprocessing, pickle, sys
from befit.objects import CustomObjectScope, deserialize, scope_initializer

context = multiprocessing.get_context(sys.argv[1])
with CustomObjectScope({'decoder': pickle.loads}), CustomObjectScope({'half': 0.5}):
    initializer = scope_initializer()
with context.Pool(1, initializer=initializer) as pool:
    assert pool.apply(deserialize, ('half',)) == 0.5
    assert pool.apply(deserialize, ('decoder',)) is pickle.loads
"""


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_initializer_opens_the_scopes_in_a_worker_process(method):
    """In an interpreter of its own: this one has threads of frameworks, which do not survive a fork."""
    subprocess.run([sys.executable, "-c", IN_A_WORKER, method], check=True, timeout=60)


@pytest.mark.parametrize("method", CLEAN_STARTS)
def test_what_cannot_travel_is_named_before_a_worker_starts(method):
    with CustomObjectScope({"fine": 1, "my_act": lambda x: x}):
        worker = multiprocessing.get_context(method).Process(target=scope_initializer())
    with pytest.raises(SerializationError, match=r"'my_act' cannot travel .* top level of a module"):
        worker.start()
    assert worker.pid is None
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("error", [ValueError, RecursionError])  # as ctypes' pointers and deep lists raise
def test_whatever_keeps_an_object_from_travelling_it_is_named(error):
    class Stays:
        def __reduce__(self):
            raise error("not today")

    with CustomObjectScope({"stays": Stays()}):
        initializer = scope_initializer()
    with pytest.raises(SerializationError, match=r"'stays' cannot travel .*not today"):
        pickle.dumps(initializer)


DATALOADER = """
import multiprocessing, sys
import torch
from befit.errors import SerializationError
from befit.objects import CustomObjectScope, get_custom_objects, scope_initializer


class Names(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        found = get_custom_objects().get('thing')
        return -1 if found is None else found(index)


def double(x):
    return 2 * x


def load(method, initializer=None):
    loader = torch.utils.data.DataLoader(
        Names(),
        batch_size=2,
        num_workers=1,
        multiprocessing_context=method,
        worker_init_fn=initializer,
    )
    return torch.cat(list(loader)).tolist()


if __name__ == '__main__':
    method = sys.argv[1]
    with CustomObjectScope({'thing': double}):
        initializer = scope_initializer()
        assert load(method) == ([0, 2, 4, 6] if method == 'fork' else [-1] * 4)
    assert load(method, initializer) == [0, 2, 4, 6]  # the names of then
    with CustomObjectScope({'thing': lambda x: x}):
        initializer = scope_initializer()
    if method == 'fork':
        assert load(method, initializer) == [0, 1, 2, 3]  # nothing travels
    else:
        try:
            load(method, initializer)
        except SerializationError as error:
            assert "'thing' cannot travel" in str(error)
        else:
            raise AssertionError('a lambda travelled')
        assert multiprocessing.active_children() == []
"""


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_workers_of_a_torch_dataloader_see_the_scope(method, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(DATALOADER)
    subprocess.run([sys.executable, script, method], check=True, timeout=110)
