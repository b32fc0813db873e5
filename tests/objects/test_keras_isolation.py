"""What belongs to Keras, to other threads and to other tasks stays theirs; on every backend."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import keras
import pytest

from befit.objects import CustomObjectScope, get_custom_objects, in_scope, register, serialize

pytestmark = pytest.mark.backends

TABLE_MODULES = ("activations", "constraints", "losses", "metrics", "quantizers", "regularizers")


class MyObject(keras.regularizers.Regularizer):
    def __init__(self, factor=0.5):
        self.factor = factor

    def __call__(self, weights):
        return self.factor * keras.ops.sum(keras.ops.abs(weights))

    def get_config(self):
        return {"factor": self.factor}


class OtherObject(MyObject):
    pass


def my_act(x):
    return keras.ops.tanh(x) + 1


def my_loss(y_true, y_pred):
    return keras.ops.mean(keras.ops.square(y_true - y_pred) + 1, axis=-1)


def unknown(name: str) -> bool:
    with pytest.raises(ValueError, match=f"Could not interpret .*{name}"):
        keras.layers.Dense(2, kernel_regularizer=name)
    return True


def test_keras_own_scope_inside_and_outside_of_ours():
    ours, theirs = (
        CustomObjectScope({"MyObject": MyObject}),
        keras.saving.custom_object_scope({"MyObject": OtherObject}),
    )
    lookup = keras.saving.get_registered_object
    with ours, theirs:
        assert lookup("MyObject") is OtherObject
        assert type(keras.regularizers.get("MyObject")) is OtherObject
    with theirs, ours:
        assert lookup("MyObject") is MyObject
        assert type(keras.regularizers.get("MyObject")) is MyObject
        config = keras.layers.Dense(2, kernel_regularizer="MyObject").get_config()
        assert type(keras.layers.Dense.from_config(config).kernel_regularizer) is MyObject
    with theirs:
        with ours:  # Keras opens and ends a scope of its own whenever it builds an object from its config
            keras.regularizers.get({"class_name": "MyObject", "config": {}})
        assert lookup("MyObject") is OtherObject
    with keras.saving.custom_object_scope({"only": my_act}), ours:
        assert lookup("only") is my_act
        assert keras.activations.get("only") is my_act
        get_custom_objects().clear()
        assert lookup("only") is None


def test_keras_own_scope_that_ends_in_another_order():
    ours, theirs = (
        CustomObjectScope({"MyObject": MyObject}),
        keras.saving.custom_object_scope({"only": my_act}),
    )
    theirs.__enter__()
    ours.__enter__()
    theirs.__exit__()
    assert keras.saving.get_registered_object("MyObject") is MyObject
    ours.__exit__(None, None, None)
    assert keras.saving.get_registered_object("only") is None


def test_blocks_that_end_in_another_order():
    first, second = CustomObjectScope({"X": MyObject, "only": my_act}), CustomObjectScope({"X": OtherObject})
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert type(keras.regularizers.get("X")) is OtherObject
    assert keras.saving.get_registered_object("only") is None
    second.__exit__(None, None, None)
    assert unknown("X")


def test_clear_session_inside():
    with CustomObjectScope({"MyObject": MyObject}):
        keras.utils.clear_session(free_memory=False)
        assert type(keras.regularizers.get("MyObject")) is MyObject
        assert keras.saving.get_registered_object("MyObject") is MyObject
        with CustomObjectScope({"my_act": my_act}):
            assert keras.activations.get("my_act") is my_act


def test_a_registration_is_shared_with_keras_and_outlives_the_block():
    names_in_keras = keras.saving.get_registered_object.__globals__["GLOBAL_CUSTOM_NAMES"]

    class ByBefit(MyObject):
        pass

    class ByKeras(MyObject):
        pass

    with CustomObjectScope({"a": 1}):
        register(package="tests_keras")(ByBefit)
        keras.saving.register_keras_serializable("tests_keras")(ByKeras)
    try:
        for cls in (ByBefit, ByKeras):
            key = f"tests_keras>{cls.__name__}"
            assert keras.saving.get_registered_name(cls) == key
            assert keras.saving.get_registered_object(key) is cls
            assert get_custom_objects()[key] is cls
            assert serialize(cls(1))["class_name"] == key
            config = json.loads(json.dumps(keras.saving.serialize_keras_object(cls(0.1))))
            assert keras.saving.deserialize_keras_object(config).factor == 0.1
        assert type(keras.regularizers.get("tests_keras>ByBefit")) is ByBefit
    finally:
        for cls in (ByBefit, ByKeras):
            del get_custom_objects()[f"tests_keras>{cls.__name__}"], names_in_keras[cls]


def test_threads_with_the_same_names_find_their_own_objects():
    def work(regularizer, activation):
        barrier.wait()
        with CustomObjectScope({"X": regularizer, "relu": activation}):
            barrier.wait()
            for _ in range(200):
                layer = keras.layers.Dense(1, kernel_regularizer="X", activation="relu")
                assert (type(layer.kernel_regularizer), layer.activation) == (regularizer, activation)
            barrier.wait()

    barrier = threading.Barrier(3, timeout=60)
    with ThreadPoolExecutor(2) as pool:
        works = [pool.submit(work, MyObject, my_act), pool.submit(work, OtherObject, my_loss)]
        barrier.wait()
        barrier.wait()
        for _ in range(50):  # this thread has no block: what the others opened means nothing here
            assert keras.layers.Dense(1, activation="relu").activation is keras.activations.relu
            assert keras.regularizers.deserialize({"class_name": "L2", "config": {"l2": 0.5}}).l2 == 0.5
        assert unknown("X")
        assert keras.saving.get_registered_object("X") is None
        assert dict(keras.saving.get_custom_objects()) == dict(get_custom_objects())
        barrier.wait()
        for done in works:
            done.result()


def test_names_of_keras_alone_mean_to_other_threads_what_they_meant():
    keras.saving.get_custom_objects()["relu"] = my_act  # which Keras itself does not use for strings
    begun, ended = threading.Event(), threading.Event()

    def hold_a_block_open():
        with CustomObjectScope():
            begun.set()
            assert ended.wait(60)

    try:
        with ThreadPoolExecutor(1) as pool:
            holding = pool.submit(hold_a_block_open)
            assert begun.wait(60)
            try:
                assert keras.activations.get("relu") is keras.activations.relu
            finally:
                ended.set()
            holding.result()
    finally:
        del keras.saving.get_custom_objects()["relu"]


def test_a_context_whose_block_has_ended_is_outside_of_every_block():
    keras.saving.get_custom_objects()["relu"] = my_act
    scope, context = CustomObjectScope(), copy_context()
    context.run(scope.__enter__)
    scope.__exit__(None, None, None)
    try:
        with CustomObjectScope():
            assert keras.activations.get("relu") is my_act
            assert context.run(keras.activations.get, "relu") is keras.activations.relu
    finally:
        del keras.saving.get_custom_objects()["relu"]


def test_in_scope_and_to_thread_reach_keras_from_other_threads():
    def read():
        return type(keras.regularizers.get("X")), keras.saving.get_registered_object("X")

    async def main():
        with CustomObjectScope({"X": MyObject}):
            return await asyncio.to_thread(read)

    assert asyncio.run(main()) == (MyObject, MyObject)
    with CustomObjectScope({"X": MyObject}):
        scoped = in_scope(read)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(scoped).result() == (MyObject, MyObject)


def test_interleaved_tasks_find_their_own_objects():
    async def work(cls):
        with CustomObjectScope({"X": cls}):
            for _ in range(3):
                await asyncio.sleep(0)
                assert type(keras.regularizers.get("X")) is cls
                assert keras.saving.get_registered_object("X") is cls

    async def main():
        await asyncio.gather(work(MyObject), work(OtherObject))

    asyncio.run(main())


def test_keras_is_as_before_after_an_exception(state_of_keras):
    before = state_of_keras()
    with pytest.raises(ZeroDivisionError), CustomObjectScope({"my_act": my_act, "MyObject": MyObject}):  # noqa: PT012
        keras.saving.get_custom_objects().clear()
        get_custom_objects()["relu"] = my_act
        1 / 0  # noqa: B018
    assert state_of_keras() == before


def test_what_others_write_into_a_table_meanwhile_stays():
    """As a package does that brings further activations."""
    with CustomObjectScope({"my_act": my_act, "MyObject": MyObject}):
        keras.activations.get.__globals__["ALL_OBJECTS_DICT"]["from_a_package"] = my_act
    assert keras.activations.get("from_a_package") is my_act
    with CustomObjectScope({"my_act": my_act, "MyObject": MyObject}):
        del keras.activations.get.__globals__["ALL_OBJECTS_DICT"]["from_a_package"]
    with pytest.raises(ValueError, match="from_a_package"):
        keras.activations.get("from_a_package")


def test_a_table_that_others_exchange_meanwhile_stays():
    """As loading the module again does, or a patch that began before the block and ends inside of it."""
    module = keras.activations.get.__globals__
    before = module["ALL_OBJECTS_DICT"]
    theirs = dict(before)
    try:
        with CustomObjectScope({"my_act": my_act}):
            module["ALL_OBJECTS_DICT"] = theirs
        assert module["ALL_OBJECTS_DICT"] is theirs
    finally:
        module["ALL_OBJECTS_DICT"] = before


def test_every_table_of_keras_that_strings_need_is_reached():
    """A module of a later Keras that looks strings up in a table of its own would be noticed here."""
    with CustomObjectScope({"X": MyObject}):
        for name in TABLE_MODULES:
            table = getattr(keras, name).get.__globals__["ALL_OBJECTS_DICT"]
            assert "X" in table
            assert "X" in list(table)
            assert len(table) == len(list(table))
    assert "X" not in keras.regularizers.get.__globals__["ALL_OBJECTS_DICT"]


def test_a_keras_without_a_registry_to_be_found_is_said(monkeypatch):
    from befit.integrations.keras import objects

    monkeypatch.setattr(objects, "_registration", {})
    with pytest.warns(RuntimeWarning, match=r"does not know where Keras .* install keras>=3.7"):
        assert objects._find_places() == []
