"""Ray workers that die, hang or find no place: no batch is lost, none comes twice, nothing is left behind."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from befit import Loader, Sequence
from befit.errors import LoaderError, WorkerDiedError
from befit.typing import LoadTask

ray = pytest.importorskip("ray")

from befit.integrations.ray import loading  # noqa: E402 - it imports ray
from befit.integrations.ray.actor import LoadActor  # noqa: E402
from befit.integrations.ray.loading import RayEngine  # noqa: E402

PATIENCE = 60.0  # seconds
CPUS = 4


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """One Ray for all tests of the module."""
    ray.init(num_cpus=CPUS, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield
    ray.shutdown()


@pytest.fixture
def make_engine():
    engines = []

    def make(workers=2, tasks_ahead=3):
        engines.append(RayEngine(workers, tasks_ahead=tasks_ahead))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture
def make_loader():
    loaders = []

    def make(source, **settings):
        loaders.append(Loader(source, **{"workers": 2, "engine": "ray", "timeout": PATIENCE, **settings}))
        return loaders[-1]

    yield make
    for loader in loaders:
        loader.close()


def one_batch(engine, index=0, ticket=0):
    engine.submit(LoadTask(ticket, index))
    return engine.next_ready(PATIENCE)


class Base(Sequence):
    length = 12

    def __len__(self):
        return self.length


class Pids(Base):
    """Batches say which process computed them."""

    def __getitem__(self, idx):
        return idx, os.getpid()


def both_pids(loader):
    """Run epochs until both workers have taken part; the second may start late."""
    pids = set()
    deadline = time.monotonic() + PATIENCE
    while len(pids) < 2:
        assert time.monotonic() < deadline
        pids |= {pid for _, pid in loader}
    return pids


class Deadly(Base):
    """Some batches end the process, once or always, at once, when answers are still on their way."""

    def __init__(self, folder, once=(), always=()):
        self.folder, self.once, self.always = folder, once, always

    def __getitem__(self, idx):
        if idx in self.always:
            os._exit(3)
        if idx in self.once:
            try:
                (self.folder / str(idx)).touch(exist_ok=False)
            except FileExistsError:
                return idx
            os._exit(3)
        return idx


class TestDeaths:
    """A process that ends takes no batch with it, and no batch comes twice."""

    @pytest.mark.parametrize("workers", [1, 2])
    def test_killed_processes_lose_nothing(self, make_loader, workers):
        source = Pids()
        source.length = 40
        got, killed = [], set()
        for index, pid in make_loader(source, workers=workers):
            got.append(index)
            if index in (3, 20):
                killed.add(pid)
                os.kill(pid, signal.SIGKILL)
            elif index > 30:
                assert pid not in killed
        assert got == list(range(40))

    def test_batches_that_end_their_process_are_repeated(self, make_loader, tmp_path):
        source = Deadly(tmp_path, once=(0, 4, 5, 11))
        assert list(make_loader(source)) == list(range(12))
        assert len(list(tmp_path.iterdir())) == 4

    def test_a_batch_that_ends_two_processes_is_named(self, make_loader, tmp_path):
        batches = iter(make_loader(Deadly(tmp_path, always=(5,)), workers=1, prefetch=6))
        assert [next(batches) for _ in range(5)] == list(range(5))
        with pytest.raises(
            WorkerDiedError,
            match=r"^batch index 5 killed two workers.* computed batch index 5: The actor is dead",
        ):
            next(batches)

    def test_after_a_death_a_worker_has_one_task_at_a_time(self, make_engine, tmp_path):
        """Else an answer that got lost with the process could bring its batch under suspicion twice."""
        engine = make_engine(1, 6)
        engine.start(Deadly(tmp_path, once=(2,)))
        for index in range(6):
            engine.submit(LoadTask(index, index))
        while (result := engine.next_ready(PATIENCE)).error is None:
            pass
        assert isinstance(result.error, WorkerDiedError)
        answered = 0
        while engine._waiting:
            engine.next_ready(PATIENCE)
            answered += 1
            assert len(engine._expected) <= 1
        assert answered >= 2

    def test_the_batch_in_work_is_the_suspect(self, make_engine, tmp_path):
        class Waiting(Base):
            def __init__(self, file):
                self.file = file

            def __getitem__(self, idx):
                if idx == 2:
                    while not self.file.exists():  # by then, the answers before have arrived
                        time.sleep(0.01)
                    os._exit(3)
                return idx

        engine = make_engine(1, 6)
        engine.start(Waiting(tmp_path / "go"))
        for index in range(5):
            engine.submit(LoadTask(10 + index, index))
        assert {engine.next_ready(PATIENCE).ticket for _ in range(2)} == {10, 11}, "in any order"
        (tmp_path / "go").touch()
        result = engine.next_ready(PATIENCE)
        assert (result.ticket, type(result.error)) == (12, WorkerDiedError)
        assert [engine.next_ready(PATIENCE).ticket for _ in range(2)] == [13, 14]

    def test_a_new_worker_knows_the_state_of_the_epoch(self, make_loader):
        class Numbered(Base):
            number = 0

            def __getitem__(self, idx):
                return idx, self.number, os.getpid()

            def on_epoch_end(self):
                self.number += 1

        loader = make_loader(Numbered(), workers=1)
        assert {number for _, number, _ in loader} == {0}
        pids = set()
        for index, number, pid in loader:
            pids.add(pid)
            assert number == 1
            if index == 2:
                os.kill(pid, signal.SIGKILL)
        assert len(pids) == 2
        assert {number for _, number, _ in loader} == {2}

    def test_deaths_between_epochs_are_nobodys_fault(self, make_loader, wait_until_gone):
        """A batch that is given to two dead processes did not kill them."""
        source = Pids()
        loader = make_loader(source)
        pids = both_pids(loader)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_until_gone(pids)
        source.length = 1
        assert [index for index, _ in loader] == [0]

    def test_processes_that_end_before_they_begin_are_not_started_for_ever(self, make_engine):
        class Exploding(Base):
            def __getitem__(self, idx):
                return idx

            def __getstate__(self):
                return {"x": 1}

            def __setstate__(self, state):
                os._exit(1)

        engine = make_engine(1)
        engine.start(Exploding())
        with pytest.raises(LoaderError, match=r"2 Ray workers in a row ended before they had the source"):
            one_batch(engine)


class TestPlace:
    """A cluster may have no room."""

    @pytest.fixture
    def holder(self):
        """Takes all CPUs, which matters only to actors that reserve one."""
        holder = ray.remote(num_cpus=CPUS)(Base).remote()
        ray.get(holder.__len__.remote())
        yield holder
        ray.kill(holder)

    def test_workers_start_on_a_busy_cluster(self, make_engine, holder):
        """Neither other work nor the idle workers of a validation, for example, keep them from starting."""
        engines = [make_engine(CPUS) for _ in range(2)]
        for engine in engines:
            engine.start(Pids())
        for engine in engines:
            assert one_batch(engine, 2).batch[0] == 2

    def test_no_place_at_all_is_an_error_in_time(self, make_engine, monkeypatch):
        monkeypatch.setattr(loading, "LoadActor", LoadActor.options(resources={"nowhere": 1}))
        monkeypatch.setattr(loading, "_START_LIMIT", 0.1)
        engine = make_engine()
        engine.start(Pids())
        with pytest.raises(LoaderError, match=r"none of 2 Ray workers has started .* has 4 CPUs"):
            one_batch(engine)

    def test_a_worker_starts_when_there_is_place(self, make_engine, holder, monkeypatch):
        monkeypatch.setattr(loading, "LoadActor", LoadActor.options(num_cpus=1))
        engine = make_engine()
        engine.start(Pids())
        engine.submit(LoadTask(7, 0))
        with pytest.raises(TimeoutError):
            engine.next_ready(1.0)
        ray.kill(holder)
        assert engine.next_ready(PATIENCE).ticket == 7

    def test_others_do_the_work_of_one_that_finds_no_place(self, make_loader, monkeypatch, wait_until_gone):
        loader = make_loader(Pids())
        pids = both_pids(loader)
        monkeypatch.setattr(loading, "LoadActor", LoadActor.options(resources={"nowhere": 1}))
        killed = pids.pop()
        os.kill(killed, signal.SIGKILL)
        wait_until_gone({killed})
        got = list(loader)
        assert [index for index, _ in got] == list(range(12))
        assert {pid for _, pid in got} == pids


class Hanging(Base):
    """Leaves its process id in a file, and waits for ever."""

    def __init__(self, file):
        self.file = file

    def __getitem__(self, idx):
        self.file.with_suffix(".new").write_text(str(os.getpid()))
        self.file.with_suffix(".new").rename(self.file)
        threading.Event().wait()


class TestEnds:
    """Nothing outlives the engine, except Ray itself."""

    def test_close_ends_a_worker_that_hangs(self, make_engine, tmp_path, wait_until_gone):
        engine = make_engine(1)
        engine.start(Hanging(tmp_path / "pid"))
        engine.submit(LoadTask(0, 0))
        while not (tmp_path / "pid").exists():
            with pytest.raises(TimeoutError):
                engine.next_ready(0.1)
        pid = int((tmp_path / "pid").read_text())
        engine.close()
        wait_until_gone({pid})

    def test_an_engine_that_is_dropped_ends_its_workers(self, tmp_path, wait_until_gone):
        engine = RayEngine(1, tasks_ahead=2)
        engine.start(Hanging(tmp_path / "pid"))
        engine.submit(LoadTask(0, 0))
        while not (tmp_path / "pid").exists():
            with pytest.raises(TimeoutError):
                engine.next_ready(0.1)
        pid = int((tmp_path / "pid").read_text())
        del engine
        gc.collect()
        wait_until_gone({pid})

    def test_a_forked_child_leaves_the_workers_alone(self, make_engine):
        engine = make_engine(1)
        engine.start(Pids())
        pid = one_batch(engine).batch[1]
        child = os.fork()
        if child == 0:
            code = 1
            try:
                for attempt in (lambda: engine.submit(LoadTask(1, 1)), lambda: engine.start(Pids())):
                    with pytest.raises(LoaderError, match="process"):
                        attempt()
                engine.close()
                del engine
                gc.collect()
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert one_batch(engine, 2).batch == (2, pid)

    def test_a_program_may_end_without_closing(self, wait_until_gone):
        """Silently, and in time; it finds the cluster by the environment."""
        program = (
            "import os\n"
            "from befit.integrations.ray.loading import RayEngine\n"
            "from befit.typing import LoadTask\n"
            "class Pids:\n"
            "    def __getitem__(self, index): return os.getpid()\n"
            "engine = RayEngine(1, tasks_ahead=2)\n"
            "engine.start(Pids())\n"
            "engine.submit(LoadTask(0, 3))\n"
            "print(engine.next_ready(60).batch)\n"
        )
        environment = {**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address}
        ended = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=60
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        wait_until_gone({int(ended.stdout)})

    # The last one, because Ray is another one afterwards.
    def test_ray_may_be_restarted_and_is_started_if_need_be(self, make_engine, make_loader):
        """And it goes on when an engine is closed: others may use it by then."""
        loader = make_loader(Pids())
        before = {pid for _, pid in loader}
        ray.shutdown()
        again = list(loader)
        assert [index for index, _ in again] == list(range(12))
        assert not before & {pid for _, pid in again}
        other = make_engine(1)
        other.start(Pids())
        other.close()
        assert ray.is_initialized()
        left = iter(loader)
        assert next(left)[0] == 0
        ray.shutdown()
        with pytest.raises(LoaderError, match="Ray was shut down during an epoch"):
            list(left)
