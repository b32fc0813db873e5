# backends: jax torch tensorflow
"""multi_gpu_model(model, gpus=4): more replicas, odd batches, and weights saved by the template."""
import keras
import numpy as np
from keras.layers import Dense, Dropout, Input
from keras.models import Sequential
from keras.utils.training_utils import multi_gpu_model

G = 4
keras.utils.set_random_seed(89)
model = Sequential()
model.add(Input(shape=(4,)))
model.add(Dense(8, activation="relu"))
model.add(Dropout(0.0))
model.add(Dense(1))
if G <= 1:
    print("[INFO] training with 1 GPU...")
    parallel = model
else:
    print("[INFO] training with {} GPUs...".format(G))
    parallel = multi_gpu_model(model, gpus=G)
parallel.compile(loss="mse", optimizer="adam", metrics=["mae"])

rng = np.random.RandomState(89)
x, y = rng.normal(size=(26, 4)), rng.normal(size=(26, 1))
H = parallel.fit(x, y, validation_split=0.25, batch_size=3 * G, epochs=2, shuffle=False, verbose=0)
score = parallel.evaluate(x, y, batch_size=5, verbose=0)
out = parallel.predict(x, batch_size=3, verbose=0)
np.testing.assert_allclose(out, model.predict(x, verbose=0), rtol=1e-4, atol=1e-6)
np.testing.assert_allclose(score, [((out - y) ** 2).mean(), np.abs(out - y).mean()], rtol=1e-4)

model.save_weights("template.weights.h5")
weights = [w.copy() for w in model.get_weights()]
model.set_weights([w * 0 for w in weights])
assert np.abs(parallel.predict(x, verbose=0)).max() == 0
model.load_weights("template.weights.h5")
np.testing.assert_allclose(parallel.predict(x, verbose=0), out, rtol=1e-4, atol=1e-6)
RESULT = {"history": H.history, "score": score, "out": out}
