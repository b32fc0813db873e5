"""A parallel model is used as its template is."""

import pickle

import keras
import numpy as np
import pytest

from befit import multi_gpu_model
from befit.errors import ReplicationError, UnsupportedObjectError

pytestmark = pytest.mark.backends

random = np.random.default_rng(2)
X = random.normal(size=(13, 4)).astype("float32")
Y = random.normal(size=(13, 2)).astype("float32")


def build():
    inputs = keras.Input((4,), name="features")
    outputs = keras.layers.Dense(2, kernel_initializer=keras.initializers.GlorotUniform(seed=1), name="out")(
        inputs
    )
    return keras.Model(inputs, outputs, name="template")


def compiled(model, **settings):
    model.compile(optimizer=keras.optimizers.Adam(0.05), loss="mse", **settings)
    return model


@pytest.fixture(scope="module")
def losses_of_one_device():
    return compiled(build()).fit(X, Y, batch_size=5, epochs=3, shuffle=False, verbose=0).history["loss"]


@pytest.mark.parametrize("settings", [{"run_eagerly": True}, {"steps_per_execution": 2}], ids=str)
def test_settings_of_compile(backend, losses_of_one_device, settings):
    if backend == "torch" and "steps_per_execution" in settings:
        pytest.skip("Keras refuses it on torch")
    parallel = compiled(multi_gpu_model(build(), gpus=2), **settings)
    history = parallel.fit(X, Y, batch_size=5, epochs=3, shuffle=False, verbose=0).history
    np.testing.assert_allclose(history["loss"][-1], losses_of_one_device[-1], rtol=1e-5)


def test_mixed_precision():
    """Weights are rounded where the layer says, not on their way to the replicas."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        inputs = keras.Input((4,))
        hidden = keras.layers.Dense(3, activation="relu", name="half")(inputs)
        template = keras.Model(inputs, keras.layers.Dense(2, dtype="float32", name="full")(hidden))
        parallel = multi_gpu_model(template, gpus=4)
    finally:
        keras.config.set_dtype_policy("float32")
    expected = template.predict(X, verbose=0)
    np.testing.assert_allclose(parallel.predict(X, verbose=0), expected, rtol=1e-5, atol=1e-6)
    compiled(parallel).fit(X, Y, batch_size=5, verbose=0)
    assert {weight.dtype for weight in template.get_weights()} == {np.dtype("float32")}
    assert not np.allclose(template.predict(X, verbose=0), expected)


def test_a_model_that_is_not_built_yet():
    def build_later():
        glorot = keras.initializers.GlorotUniform(seed=1)
        return keras.Sequential([keras.layers.Dense(2, kernel_initializer=glorot)])

    expected = build_later().predict(X, verbose=0)
    template = build_later()
    parallel = multi_gpu_model(template, gpus=3)
    np.testing.assert_allclose(parallel.predict(X, batch_size=5, verbose=0), expected, rtol=1e-5, atol=1e-6)
    assert template.built
    assert multi_gpu_model(build_later(), gpus=2).predict_on_batch(X).shape == (13, 2)
    assert compiled(multi_gpu_model(build_later(), gpus=2)).train_on_batch(X, Y) > 0


def test_validation_and_callbacks(tmp_path):
    """The best checkpoint of a parallel model is a plain model; the best weights come back."""
    template = build()
    parallel = compiled(multi_gpu_model(template, gpus=2), metrics=["mae"])
    path = tmp_path / "best.keras"
    history = parallel.fit(
        X,
        Y,
        batch_size=5,
        epochs=3,
        validation_split=0.3,
        verbose=0,
        callbacks=[
            keras.callbacks.ModelCheckpoint(path, monitor="val_mae", save_best_only=True),
            keras.callbacks.EarlyStopping(monitor="val_mae", patience=5, restore_best_weights=True),
        ],
    ).history
    assert set(history) == {"loss", "mae", "val_loss", "val_mae"}
    best = keras.models.load_model(path)
    assert type(best) is type(template)
    for left, right in zip(best.get_weights(), template.get_weights(), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-6)


def test_an_interrupted_training_resumes_with_the_optimizer_s_state(tmp_path, losses_of_one_device):
    def interrupt(epoch, logs):
        if epoch == 1:
            raise KeyboardInterrupt

    job = {"x": X, "y": Y, "batch_size": 5, "epochs": 3, "shuffle": False, "verbose": 0}
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    with pytest.raises(KeyboardInterrupt):
        compiled(multi_gpu_model(build(), gpus=2)).fit(
            callbacks=[backup, keras.callbacks.LambdaCallback(on_epoch_begin=interrupt)], **job
        )
    resumed = compiled(multi_gpu_model(build(), gpus=2)).fit(
        callbacks=[keras.callbacks.BackupAndRestore(tmp_path / "backup")], **job
    )
    np.testing.assert_allclose(resumed.history["loss"], losses_of_one_device[1:], rtol=1e-5)


def test_a_template_compiled_for_itself_keeps_its_optimizer(tmp_path):
    """The parallel model's file has the parallel model's optimizer, the template's file its own."""
    template = build()
    template.compile(optimizer=keras.optimizers.SGD(0.1), loss="mae", metrics=["mse"])
    own = template.optimizer
    parallel = compiled(multi_gpu_model(template, gpus=2))
    parallel.fit(X, Y, batch_size=5, verbose=0)
    parallel.save(tmp_path / "parallel.keras")
    template.save(tmp_path / "template.keras")
    assert template.optimizer is own
    loaded = keras.models.load_model(tmp_path / "parallel.keras")
    assert isinstance(loaded.optimizer, keras.optimizers.Adam)
    assert int(loaded.optimizer.iterations) == int(parallel.optimizer.iterations) == 3
    assert isinstance(keras.models.load_model(tmp_path / "template.keras").optimizer, keras.optimizers.SGD)


def test_weights_files_and_pickles_are_the_plain_model_s(tmp_path):
    template = build()
    parallel = multi_gpu_model(template, gpus=2)
    parallel.save_weights(tmp_path / "model.weights.h5")
    other = build()
    other.set_weights([weight + 1 for weight in other.get_weights()])
    other.load_weights(tmp_path / "model.weights.h5")
    again = multi_gpu_model(build(), gpus=2)
    again.load_weights(tmp_path / "model.weights.h5")
    copied = pickle.loads(pickle.dumps(parallel))
    assert type(copied) is type(template)
    for model in (other, again, copied):
        for left, right in zip(model.get_weights(), template.get_weights(), strict=True):
            np.testing.assert_array_equal(left, right)
    assert parallel.to_json() == template.to_json()


def test_two_parallel_models_share_one_template():
    """On different devices; the template goes on with the optimizer of the first."""
    template = build()
    for gpus in ([0, 1], [1, 2, 3]):
        compiled(multi_gpu_model(template, gpus=gpus)).fit(X, Y, batch_size=5, verbose=0)
    template.fit(X, Y, batch_size=5, verbose=0)
    assert template.optimizer.iterations == 6
    assert np.isfinite(template.predict(X, verbose=0)).all()


def test_summary_and_attributes_are_the_template_s():
    template = build()
    template.note = "mine"
    parallel = multi_gpu_model(template, gpus=2)
    lines = []
    parallel.summary(print_fn=lambda line, line_break=True: lines.append(line))
    assert lines[0] == "template_x2: 2 replicas, on cpu:0, cpu:1"
    assert "features" in "\n".join(lines[1:])
    assert parallel.note == "mine"
    assert parallel.output_names == ["out"]
    assert parallel.get_layer("out") is template.get_layer("out")
    assert parallel.count_params() == template.count_params()
    with pytest.raises(AttributeError):
        _ = parallel.no_such_attribute


class OwnSteps(keras.Model):
    """Weighs its loss, counts its steps, and calls ``super()`` for the rest."""

    def __init__(self):
        super().__init__()
        self.out = keras.layers.Dense(2, kernel_initializer=keras.initializers.GlorotUniform(seed=1))
        self._factor = 3.0
        self.norm = keras.metrics.Mean(name="norm")

    def call(self, inputs):
        return self.out(inputs)

    def train_step(self, *args):
        return super().train_step(*args)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return self._factor * super().compute_loss(x, y, y_pred, sample_weight, training)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        self.norm.update_state(keras.ops.mean(y_pred**2))
        return super().compute_metrics(x, y, y_pred, sample_weight)

    @property
    def metrics(self):
        return [*super().metrics, self.norm]


def test_training_steps_of_the_template_s_class_are_honoured():
    single, template = OwnSteps(), OwnSteps()
    parallel = multi_gpu_model(template, gpus=2)
    histories = [
        compiled(model).fit(X, Y, batch_size=5, epochs=2, shuffle=False, verbose=0).history
        for model in (single, parallel)
    ]
    assert histories[0].keys() == histories[1].keys() == {"loss", "norm"}
    for name, values in histories[0].items():
        np.testing.assert_allclose(histories[1][name], values, rtol=1e-5)
    assert isinstance(parallel, OwnSteps)


def test_a_step_that_would_not_be_split_is_refused(backend):
    class Direct(OwnSteps):
        def test_step(self, data):
            return {"mean": keras.ops.mean(self.out(data[0]))}

    if backend == "jax":
        pytest.skip("on JAX every step is split, whatever it calls")
    parallel = compiled(multi_gpu_model(Direct(), gpus=2), run_eagerly=True)
    parallel.predict(X, verbose=0)
    with pytest.raises(ReplicationError, match=r"Direct\.test_step never calls self\(inputs\)"):
        parallel.evaluate(X, Y, verbose=0)


def test_models_that_are_refused(backend):
    template = build()
    parallel = multi_gpu_model(template, gpus=2)
    with pytest.raises(ReplicationError, match=r"'template_x2' is replicated already; pass its template"):
        multi_gpu_model(parallel, gpus=2)
    with pytest.raises(UnsupportedObjectError, match=r"not a Dense; wrap a layer in a model"):
        multi_gpu_model(keras.layers.Dense(2), gpus=2)
    with pytest.raises(UnsupportedObjectError, match=r"keras\.Model and torch\.nn\.Module, not ndarray"):
        multi_gpu_model(X, gpus=2)
    with pytest.raises(ReplicationError, match=r"write parallel\.save\(path\)"):
        keras.models.clone_model(parallel)
    template.train_step = lambda data: None
    with pytest.raises(ReplicationError, match=r"train_step was set on the model 'template' itself"):
        multi_gpu_model(template, gpus=2)


def test_whole_step_compilation_is_refused_where_it_would_undo_the_split(backend):
    if backend == "jax":
        pytest.skip("JAX compiles the split step")
    with pytest.raises(ReplicationError, match=r"leave jit_compile at 'auto'"):
        compiled(multi_gpu_model(build(), gpus=2), jit_compile=True)


def test_a_stateful_layer_is_refused_where_its_state_would_be_split(backend):
    template = keras.Sequential([keras.Input((3, 2), batch_size=4), keras.layers.SimpleRNN(2, stateful=True)])
    if backend == "jax":
        assert multi_gpu_model(template, gpus=2).predict(
            np.ones((4, 3, 2)), batch_size=4, verbose=0
        ).shape == (4, 2)
        return
    with pytest.raises(ReplicationError, match=r"keeps a state for each row of the batch"):
        multi_gpu_model(template, gpus=2)


def test_an_active_distribution_is_in_the_way(monkeypatch):
    """Set by hand: making a distribution works on one backend only."""
    monkeypatch.setattr(keras.distribution, "distribution", object)
    with pytest.raises(ReplicationError, match=r"a keras\.distribution is set"):
        multi_gpu_model(build(), gpus=2)


def test_a_tensorflow_strategy_is_in_the_way(backend):
    if backend != "tensorflow":
        pytest.skip("only TensorFlow has strategies")
    import tensorflow as tf

    template = build()
    with (
        tf.distribute.OneDeviceStrategy("/cpu:0").scope(),
        pytest.raises(ReplicationError, match=r"scope of a tf\.distribute\.Strategy"),
    ):
        multi_gpu_model(template, gpus=2)


def test_arguments_of_the_later_signature_change_nothing():
    parallel = multi_gpu_model(build(), 2, cpu_merge=False, cpu_relocation=True)
    assert parallel.devices == ("cpu:0", "cpu:1")


def test_outputs_that_cannot_be_concatenated_are_refused(backend):
    if backend == "jax":
        pytest.skip("on JAX the program sees the whole batch")
    inputs = keras.Input((4,))
    parallel = multi_gpu_model(keras.Model(inputs, keras.ops.mean(inputs)), gpus=2)
    with pytest.raises(ReplicationError, match=r"given 3 rows and returned an output of shape \(\)"):
        parallel(X[:5])
