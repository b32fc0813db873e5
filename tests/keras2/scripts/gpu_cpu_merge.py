# backends: jax torch tensorflow
"""multi_gpu_model(..., cpu_merge=False) of Keras 2.2, with two inputs and two outputs."""
import keras
import numpy as np
from keras import utils
from keras.callbacks import ModelCheckpoint
from keras.layers import Concatenate, Dense, Input
from keras.models import Model


class MultiGPUCheckpoint(ModelCheckpoint):
    """Saves the template, as everyone had to."""

    def __init__(self, filepath, template, **kwargs):
        super(MultiGPUCheckpoint, self).__init__(filepath, **kwargs)
        self.template = template

    def set_model(self, model):
        super(MultiGPUCheckpoint, self).set_model(self.template)


keras.utils.set_random_seed(103)
a, b = Input(shape=(3,)), Input(shape=(2,))
hidden = Dense(4, activation="tanh")(Concatenate()([a, b]))
original_model = Model(inputs=[a, b], outputs=[Dense(1)(hidden), Dense(2)(hidden)])
parallel_model = utils.multi_gpu_model(original_model, gpus=3, cpu_merge=False)
parallel_model.compile(loss=["mse", "mae"], optimizer="sgd")
rng = np.random.RandomState(103)
x = [rng.normal(size=(17, 3)), rng.normal(size=(17, 2))]
y = [rng.normal(size=(17, 1)), rng.normal(size=(17, 2))]
save = MultiGPUCheckpoint("best.weights.h5", original_model, save_weights_only=True, monitor="loss")
h = parallel_model.fit(x, y, batch_size=7, epochs=2, shuffle=False, callbacks=[save], verbose=0)
one, two = parallel_model.predict(x, batch_size=5, verbose=0)
assert one.shape == (17, 1) and two.shape == (17, 2)
original_model.load_weights("best.weights.h5")
for mine, whole in zip((one, two), original_model.predict(x, verbose=0)):
    np.testing.assert_allclose(mine, whole, rtol=1e-4, atol=1e-6)
RESULT = {"loss": h.history["loss"], "one": one, "two": two}
