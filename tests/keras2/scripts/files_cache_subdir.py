# backends: jax torch tensorflow
"""get_file by position: cache_subdir as an absolute folder, a sha256 file_hash and its algorithm."""
import hashlib
import os

import keras.utils
import numpy as np

text = "\n".join("%d,%d" % (n, n * n) for n in range(20))
with open("squares-source.csv", "w") as f:
    f.write(text)
origin = "file://" + os.path.abspath("squares-source.csv")
digest = hashlib.sha256(text.encode("utf-8")).hexdigest()

one = keras.utils.get_file("squares.csv", origin, False, None, digest, os.path.abspath("raw"), "sha256")
two = keras.utils.get_file("squares.csv", origin, cache_subdir=os.path.join(os.getcwd(), "raw"),
                           file_hash=digest, hash_algorithm="auto")
three = keras.utils.get_file(os.path.abspath("elsewhere.csv"), origin=origin)
assert one == two == os.path.abspath(os.path.join("raw", "squares.csv"))
assert three == os.path.abspath("elsewhere.csv")
try:
    keras.utils.get_file("wrong.csv", origin, file_hash="0" * 64, cache_dir=".", cache_subdir="raw")
    os.remove("raw/wrong.csv")  # Keras 2 did not look at what it had just fetched
except Exception as error:
    assert "wrong.csv" in str(error)
data = np.loadtxt(one, delimiter=",")
np.testing.assert_array_equal(data[:, 1], data[:, 0] ** 2)
with open(three) as f:
    three = f.read()
RESULT = {"data": data, "files": sorted(os.listdir("raw")), "three": three}
