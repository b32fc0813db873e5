"""Every engine satisfies the contract of engines."""

from __future__ import annotations

import pytest

from befit.loading.inline import InlineEngine
from befit.loading.processes import ProcessEngine
from befit.loading.threads import ThreadEngine
from befit.testing.load_engine import LoadEngineContract


class TestInlineEngine(LoadEngineContract):
    """Batches computed by the caller."""

    @pytest.fixture
    def engine(self):
        engine = InlineEngine()
        yield engine
        engine.close()


class TestThreadEngine(LoadEngineContract):
    """Threads share the global generators with everybody, so they do not seed them."""

    shared_generators = False

    @pytest.fixture
    def engine(self):
        engine = ThreadEngine(2)
        yield engine
        engine.close()


class TestProcessEngine(LoadEngineContract):
    """Clean interpreters."""

    @pytest.fixture
    def engine(self):
        engine = ProcessEngine(2, tasks_ahead=3)
        yield engine
        engine.close()
