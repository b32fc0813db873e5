# backends: jax
"""multi_gpu_model(model, gpus=[0, 2]): devices by their numbers, for a convnet fed by generators."""
import keras.utils.multi_gpu_utils as multi_gpu_utils
import keras
import numpy as np
from keras.layers import Conv2D, Dense, GlobalAveragePooling2D, Input
from keras.models import Model

keras.utils.set_random_seed(97)
image = Input(shape=(6, 6, 1), name="image")
features = GlobalAveragePooling2D()(Conv2D(3, (3, 3), activation="relu")(image))
template = Model(image, Dense(2, activation="softmax", name="label")(features))
model = multi_gpu_utils.multi_gpu_model(template, gpus=[0, 2])
model.compile(optimizer="rmsprop", loss="sparse_categorical_crossentropy", metrics=["accuracy"])

rng = np.random.RandomState(97)
images, labels = rng.uniform(size=(18, 6, 6, 1)), rng.randint(0, 2, size=18)


def generate(size):
    while True:
        for start in range(0, len(images), size):
            yield images[start:start + size], labels[start:start + size]


history = model.fit_generator(generate(6), steps_per_epoch=3, epochs=2, verbose=0, max_queue_size=1)
evaluated = model.evaluate_generator(generate(6), steps=3)
out = model.predict_generator(generate(9), steps=2)
np.testing.assert_allclose(evaluated[0], -np.log(out[np.arange(18), labels]).mean(), rtol=1e-4)
np.testing.assert_allclose(out, template.predict(images, verbose=0), rtol=1e-4)
RESULT = {"history": history.history, "evaluated": evaluated, "out": out}
