"""Batches taken apart and put together again: every kind of value, with the arrays outside of the pickle."""

from __future__ import annotations

import copyreg
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from befit._internal.pickling import decode, encode
from befit.testing.batch_source import assert_same_batch


def through(value):
    pickled = encode(value)
    return decode(pickled.pickle, [bytearray(array.tobytes()) for array in pickled.arrays])


DTYPES = st.one_of(
    npst.scalar_dtypes(), npst.array_dtypes(), npst.byte_string_dtypes(), npst.unicode_string_dtypes()
)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), shape=npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
def test_any_array_in_any_layout_is_the_same_afterwards(data, shape):
    """Law, against NumPy: any dtype, shape, order and stride."""
    empty = np.empty(shape, data.draw(DTYPES))
    array = np.ndarray(shape, empty.dtype, bytearray(range(256)) * (empty.nbytes // 256 + 1))
    if array.ndim:
        array = array.transpose(data.draw(st.permutations(range(array.ndim))))
        array = array[tuple(slice(None, None, data.draw(st.sampled_from([1, 2, -1]))) for _ in shape)]
    back = through(array)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert back.tobytes() == array.tobytes()
    assert back.flags.writeable


def test_no_array_is_in_the_pickle():
    value = {"x": np.zeros(100_000), "strided": np.zeros((100, 100))[::2], "fortran": np.zeros((100, 100)).T}
    assert len(encode(value).pickle) < 400
    assert [array.nbytes for array in encode(value).arrays] == [800_000, 40_000, 80_000]


def test_fortran_order_is_kept():
    assert through(np.zeros((3, 4), order="F")).flags.f_contiguous


def test_an_array_that_is_there_twice_is_one_array_afterwards():
    array = np.arange(5)
    first, second = through([array, array])
    assert first is second


@pytest.mark.parametrize(
    "value",
    [None, [], {"a": (1, [b"bytes", "text"])}, np.float32(2), np.array([None, {"k": 1}], object), ...],
)
def test_other_values_travel_in_the_pickle(value):
    assert encode(value).arrays == []
    assert_same_batch(through(value), value)


@pytest.mark.parametrize("beside", [None, lambda: 0], ids=["pickle", "cloudpickle"])
def test_subclasses_stay_what_they_are(beside):
    masked, _ = through([np.ma.array([1, 2, 3], mask=[0, 1, 0]), beside])
    assert masked.tolist() == [1, None, 3]
    record, _ = through([np.rec.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")]), beside])
    assert record.a.tolist() == [1]


def test_buffers_of_other_objects_are_outside_of_the_pickle_too():
    buffer = pickle.PickleBuffer(bytearray(b"x" * 5000))
    assert [array.nbytes for array in encode(buffer).arrays] == [5000]
    assert bytes(through([buffer, np.arange(3)])[0]) == b"x" * 5000


def test_reducers_that_the_program_has_registered_are_used(monkeypatch):
    monkeypatch.setitem(copyreg.dispatch_table, Registered, lambda obj: (Registered, (obj.x + 1,)))
    assert through(Registered(1)).x == 2


class Registered:
    def __init__(self, x):
        self.x = x


def test_no_framework_is_imported_for_it():
    """A worker whose batches are arrays needs neither the seconds nor the memory."""
    code = """
        import sys
        import numpy
        from befit._internal.pickling import encode
        encode(numpy.zeros(3))
        print("torch" in sys.modules, "jax" in sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False False\n"


def test_rows_of_a_mapped_file_become_an_array(tmp_path):
    mapped = np.memmap(tmp_path / "rows", np.int32, "w+", shape=(10, 3))
    mapped[:] = np.arange(30).reshape(10, 3)
    back = through(mapped[2:4])
    assert type(back) is np.ndarray
    np.testing.assert_array_equal(back, [[6, 7, 8], [9, 10, 11]])


def test_the_metadata_of_a_dtype_is_kept():
    through(np.zeros(2))  # a dtype that is equal as far as == goes
    dtype = np.dtype("f8", metadata={"unit": "m"})
    assert through(np.zeros(2, dtype)).dtype.metadata == {"unit": "m"}
    dtype = np.dtype("f8", metadata={"scale": np.full(3, 7.0)})
    back = through([np.zeros(3, dtype), np.ones(2)])
    assert [part.tolist() for part in back] == [[0, 0, 0], [1, 1]]
    assert back[0].dtype.metadata["scale"].tolist() == [7, 7, 7]


def test_classes_of_this_module_travel_whole():
    """What pickle cannot find by name, cloudpickle takes along."""

    class Pair:
        def __init__(self, x):
            self.x = x

    assert through(Pair(np.arange(3))).x.tolist() == [0, 1, 2]
    assert through(lambda: 5)() == 5


def test_torch_tensors():
    """Without a copy where torch has the dtype in common with NumPy; anything else as torch pickles it."""
    import torch

    tensors = {
        "plain": torch.arange(6).reshape(2, 3).T,
        "half": torch.ones(3, dtype=torch.bfloat16),
        "float8": torch.ones(3).to(torch.float8_e4m3fn),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "expanded": torch.ones(1, 3).expand(4, 3),
        "gradient": torch.ones(2, requires_grad=True),
        "conjugate": torch.ones(2, dtype=torch.complex64).conj(),
        "negative": torch.ones(2, dtype=torch.complex64).conj().imag,
        "sparse": torch.eye(3).to_sparse(),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    back = through(tensors)
    for name, tensor in tensors.items():
        assert type(back[name]) is type(tensor)
        assert (back[name].dtype, back[name].requires_grad) == (tensor.dtype, tensor.requires_grad)
        plain, expected = (t.to_dense().resolve_conj().to(torch.complex64) for t in (back[name], tensor))
        assert torch.equal(plain, expected), name
    assert sum(array.nbytes for array in encode(torch.zeros(1000)).arrays) == 4000


def test_attributes_of_a_tensor_stay():
    import torch

    tensor = torch.zeros(2)
    tensor.label = "x"
    assert through(tensor).label == "x"


def test_a_tensor_on_another_device_stays_there():
    import torch

    assert through(torch.zeros(2, device="meta")).device.type == "meta"


def test_jax_arrays():
    import jax.numpy as jnp

    back = through({"x": jnp.arange(3.0), "half": jnp.ones(2, jnp.bfloat16), "weak": jnp.asarray(2.0)})
    assert back["x"].tolist() == [0, 1, 2]
    assert back["half"].dtype == jnp.bfloat16
    assert encode(jnp.zeros(1000)).arrays[0].nbytes == 4000
    assert back["weak"].weak_type
    assert not back["x"].weak_type


def test_tensorflow_tensors():
    import tensorflow as tf

    pickled = encode(tf.ones((10, 100)))
    assert [array.nbytes for array in pickled.arrays] == [4000]
    assert through(tf.constant(["a", "b"])).numpy().tolist() == [b"a", b"b"]
