"""befit's engines keep the contract that it publishes, on four devices."""

import pytest

from befit import multi_gpu_model
from befit.testing.replica_engine import ReplicaEngineContract

pytestmark = pytest.mark.backends


class TestEngine(ReplicaEngineContract):
    @pytest.fixture
    def replicate(self):
        return lambda template: multi_gpu_model(template, gpus=4)
