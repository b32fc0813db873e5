"""Every framework's adapter passes the kit; what only one framework has is tested beside it."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from befit import normalize, to_categorical
from befit._internal import adapters
from befit.errors import ArgumentError, LabelError, UnsupportedObjectError
from befit.testing.array_adapter import ArrayAdapterContract, Make
from befit.typing import ArrayAdapter


class TestTorchAdapter(ArrayAdapterContract):
    @pytest.fixture
    def adapter(self) -> ArrayAdapter:
        return adapters.integration("torch", "arrays")

    @pytest.fixture
    def make(self) -> Make:
        return importlib.import_module("torch").tensor

    def test_gradients_flow_through_normalize(self):
        """torch's own numerical differentiation agrees, for every order that has a derivative."""
        torch = importlib.import_module("torch")
        x = torch.tensor([[3.0, 4, 1], [0.5, -2, 1]], dtype=torch.float64, requires_grad=True)
        for order in (1, 2, 3, 0.5, float("inf"), -1):
            assert torch.autograd.gradcheck(lambda x, order=order: normalize(x, -1, order), (x,))

    def test_gradient_at_a_zero_row_is_finite(self):
        """A row of zeros passes the gradient on, as a norm of 1 does."""
        torch = importlib.import_module("torch")
        for order in (0.5, 1, 2, 3, float("inf"), -1, 0):
            x = torch.zeros((2, 3), requires_grad=True)
            normalize(x, order=order).sum().backward()
            np.testing.assert_array_equal(x.grad, np.ones((2, 3)))

    def test_no_gradient_goes_to_out(self):
        """out= would cut the gradient without a word, so it is refused."""
        torch = importlib.import_module("torch")
        with pytest.raises(ArgumentError, match="carries no gradient"):
            normalize(torch.ones((2, 3), requires_grad=True), out=np.zeros((2, 3), np.float32))

    def test_a_tensor_is_written_in_place(self):
        """out= takes a CPU tensor and returns it."""
        torch = importlib.import_module("torch")
        out = torch.full((2, 3), 7.0)
        assert to_categorical(torch.tensor([2, 0]), 3, out=out) is out
        np.testing.assert_array_equal(out, [[0, 0, 1], [1, 0, 0]])

    @pytest.mark.parametrize("transform", ["vmap", "compile"])
    def test_traced_labels_without_a_class_show_as_nan(self, transform):
        """Under vmap and compile nothing can be raised; the row is NaN instead of a wrong class."""
        torch = importlib.import_module("torch")
        function = {"vmap": torch.vmap, "compile": lambda f: torch.compile(f, backend="eager")}[transform]
        rows = function(lambda y: to_categorical(y, 3))(torch.tensor([2, 3, -1]))
        np.testing.assert_array_equal(rows, [[0, 0, 1], [np.nan] * 3, [np.nan] * 3])
        ones = function(lambda x: normalize(x, 0, 1))(torch.tensor([[1.0, 3.0], [0.0, 0.0]]))
        assert ones.shape == ((2, 1, 2) if transform == "vmap" else (2, 2))

    def test_bfloat16_goes_in_and_out(self):
        """The type that NumPy lacks is computed by torch."""
        torch = importlib.import_module("torch")
        assert to_categorical(torch.tensor([1, 0]), dtype=torch.bfloat16).dtype == torch.bfloat16
        labels = torch.tensor([1.0, 0.0], dtype=torch.bfloat16)
        np.testing.assert_array_equal(to_categorical(labels), [[0, 1], [1, 0]])
        assert normalize(torch.tensor([[3, 4]], dtype=torch.bfloat16)).dtype == torch.bfloat16

    @pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
    @pytest.mark.parametrize("layout", ["to_sparse_coo", "to_sparse_csr"])
    def test_sparse_tensors_are_refused(self, layout):
        """They have no memory that could be read; the message says what to write."""
        torch = importlib.import_module("torch")
        tensor = getattr(torch.eye(3), layout)()
        for function in (to_categorical, normalize):
            with pytest.raises(UnsupportedObjectError, match=r"is a sparse tensor; write x\.to_dense\(\)"):
                function(tensor)
        with pytest.raises(ArgumentError, match="out is a Tensor that cannot be written in place"):
            to_categorical([0, 1, 2], out=tensor)

    def test_long_rows_are_exact(self):
        """A million float32 values: torch's own norm is off by 1e-3 here."""
        torch = importlib.import_module("torch")
        row = torch.full((1, 1 << 20), 0.1, requires_grad=True)
        np.testing.assert_allclose(normalize(row).detach(), 2.0**-10, rtol=1e-6)


class TestJaxAdapter(ArrayAdapterContract):
    @pytest.fixture
    def adapter(self) -> ArrayAdapter:
        return adapters.integration("jax", "arrays")

    @pytest.fixture
    def make(self) -> Make:
        return importlib.import_module("jax.numpy").asarray

    def test_gradients_flow_through_normalize(self):
        """JAX's numerical differentiation agrees; a row of zeros has a finite gradient."""
        jax = importlib.import_module("jax")
        jnp = jax.numpy
        check_grads = importlib.import_module("jax.test_util").check_grads
        x = jnp.asarray([[3.0, 4, 1], [0.5, -2, 1]])
        for order in (1, 2, 3):
            check_grads(lambda x, order=order: normalize(x, -1, order), (x,), order=1, atol=0.02, rtol=0.02)
            gradient = jax.grad(lambda x, order=order: normalize(x, -1, order).sum())(jnp.zeros((1, 3)))
            np.testing.assert_array_equal(gradient, [[1, 1, 1]])

    def test_works_under_jit(self):
        """Traced arrays stay with JAX; a label without a class is a row of NaN, or of zeros for integers."""
        jax = importlib.import_module("jax")
        labels = jax.numpy.asarray([2, 3, -1])
        rows = jax.jit(lambda y: to_categorical(y, 3))(labels)
        np.testing.assert_array_equal(rows, [[0, 0, 1], [np.nan] * 3, [np.nan] * 3])
        rows = jax.jit(lambda y: to_categorical(y, 3, dtype="uint8"))(labels)
        np.testing.assert_array_equal(rows, [[0, 0, 1], [0] * 3, [0] * 3])
        np.testing.assert_allclose(jax.jit(normalize)(jax.numpy.asarray([3.0, 4.0])), [[0.6, 0.8]], rtol=1e-6)

    def test_traced_labels_need_num_classes(self):
        """The largest label is unknown while tracing."""
        jax = importlib.import_module("jax")
        with pytest.raises(ArgumentError, match="pass num_classes"):
            jax.jit(to_categorical)(jax.numpy.asarray([0, 1]))

    def test_stays_on_its_device(self):
        """An array bound to the second device gives an array there; an unbound one stays unbound."""
        jax = importlib.import_module("jax")
        device = jax.devices()[1]
        bound = jax.device_put(np.asarray([0, 1]), device)
        assert to_categorical(bound).devices() == {device}
        assert normalize(bound[None].astype("float32")).devices() == {device}
        free = jax.numpy.asarray([0, 1])
        assert to_categorical(free).committed == free.committed

    def test_sharded_arrays_stay_sharded(self):
        """An array over four devices is normalised where it lies."""
        jax = importlib.import_module("jax")
        mesh = jax.make_mesh((4,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
        sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
        x = jax.device_put(np.arange(1, 13, dtype=np.float32).reshape(4, 3), sharding)
        assert normalize(x).sharding.device_set == sharding.device_set
        np.testing.assert_allclose(normalize(x), normalize(np.asarray(x)), rtol=1e-6)

    def test_out_is_refused(self):
        """Arrays of JAX cannot be written."""
        jnp = importlib.import_module("jax.numpy")
        with pytest.raises(ArgumentError, match="cannot be written in place"):
            to_categorical([0, 1], out=jnp.zeros((2, 2)))


class TestTensorFlowAdapter(ArrayAdapterContract):
    @pytest.fixture
    def adapter(self) -> ArrayAdapter:
        return adapters.integration("tensorflow", "arrays")

    @pytest.fixture
    def make(self) -> Make:
        return importlib.import_module("tensorflow").constant

    def test_gradients_flow_through_normalize(self):
        """A tape sees the division of a variable; TensorFlow's own l2 norm is the oracle."""
        tf = importlib.import_module("tensorflow")
        x = tf.Variable([[3.0, 4, 1], [0.5, -2, 1]])
        gradients = []
        for function in (normalize, lambda x: tf.math.l2_normalize(x, -1)):
            with tf.GradientTape() as tape:
                first = function(x)[:, 0]
            gradients.append(tape.gradient(first, x))
        np.testing.assert_allclose(gradients[0], gradients[1], atol=1e-6)

    def test_gradient_at_a_zero_row_is_finite(self):
        """A row of zeros passes the gradient on."""
        tf = importlib.import_module("tensorflow")
        for order in (1, 2, 3, float("inf")):
            x = tf.zeros((1, 3))
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = normalize(x, -1, order)
            np.testing.assert_array_equal(tape.gradient(y, x), [[1, 1, 1]])

    def test_labels_of_a_graph_are_checked_when_it_runs(self):
        """tf.data and tf.function take to_categorical; a bad label stops the graph."""
        tf = importlib.import_module("tensorflow")
        dataset = tf.data.Dataset.from_tensor_slices([0, 2]).map(lambda y: to_categorical(y, 3))
        np.testing.assert_array_equal(list(dataset), [[1, 0, 0], [0, 0, 1]])
        graph = tf.function(lambda y: to_categorical(y, 3), autograph=False)
        np.testing.assert_array_equal(graph(tf.constant([[1], [2]])), [[0, 1, 0], [0, 0, 1]])
        for bad in ([3], [-1], [0.5], [float("nan")]):
            with pytest.raises(tf.errors.InvalidArgumentError, match=r"outside \[0, 3\)"):
                graph(tf.constant(bad))

    def test_variables_are_tensors(self):
        """A variable gives a tensor; a wrong label in it is named."""
        tf = importlib.import_module("tensorflow")
        assert tf.is_tensor(to_categorical(tf.Variable([0, 1])))
        with pytest.raises(LabelError, match=r"label 2 at index \(1,\)"):
            to_categorical(tf.Variable([0, 2]), 2)
