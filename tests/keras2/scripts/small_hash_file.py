# backends: jax torch tensorflow
"""_hash_file writes a table of checksums; the names are imported from two places."""
import hashlib
import os

from keras.utils.data_utils import _hash_file
import keras.utils.data_utils as du

if not os.path.exists("weights"):
    os.makedirs("weights")
for number in range(3):
    with open(os.path.join("weights", "part%d.bin" % number), "wb") as fh:
        fh.write(bytes(bytearray(range(number, 200))))

table = {}
for name in sorted(os.listdir("weights")):
    path = os.path.join("weights", name)
    table[name] = (_hash_file(path, algorithm="md5"), du._hash_file(path))
    with open(path, "rb") as fh:
        data = fh.read()
    assert table[name][0] == hashlib.md5(data).hexdigest()
    assert table[name][1] == hashlib.sha256(data).hexdigest(), table[name]
    assert du.validate_file(path, table[name][1], algorithm="sha256")
assert len(set(table.values())) == 3
RESULT = {name: list(pair) for name, pair in table.items()}
