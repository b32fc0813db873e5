# backends: jax torch tensorflow
"""multi_gpu_model(model, 2): the parallel model trains the template's weights."""
import keras
import numpy as np
from keras.layers import Dense, Input
from keras.models import Model
from keras.utils import multi_gpu_model


def build():
    keras.utils.set_random_seed(83)
    inputs = Input(shape=(5,))
    outputs = Dense(3, activation='softmax')(Dense(6, activation='tanh')(inputs))
    return Model(inputs, outputs)


rng = np.random.RandomState(83)
x = rng.normal(size=(20, 5))
y = keras.utils.to_categorical(rng.randint(0, 3, size=20), 3)

model = build()
parallel_model = multi_gpu_model(model, 2)
parallel_model.compile(loss='categorical_crossentropy', optimizer='sgd')
history = parallel_model.fit(x, y, epochs=3, batch_size=8, shuffle=False, verbose=0)

single = build()
single.compile(loss='categorical_crossentropy', optimizer='sgd')
expected = single.fit(x, y, epochs=3, batch_size=8, shuffle=False, verbose=0)
np.testing.assert_allclose(history.history['loss'], expected.history['loss'], rtol=1e-4)
for one, other in zip(model.get_weights(), single.get_weights()):
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
RESULT = {'loss': history.history['loss'], 'weights': model.get_weights(),
          'out': parallel_model.predict(x, batch_size=7, verbose=0)}
