# backends: jax tensorflow
"""tf.keras.utils.get_file(extract=True): the path of the archive, and what is beside it."""
import os
import zipfile

import tensorflow as tf

archive = zipfile.ZipFile("source.zip", "w")
for name, text in {"cats_and_dogs/train/cats/1.txt": "meow", "cats_and_dogs/train/dogs/1.txt": "wow",
                   "cats_and_dogs/validation/cats/2.txt": "purr"}.items():
    archive.writestr(name, text)
archive.close()
_URL = "file://" + os.path.abspath("source.zip")

path_to_zip = tf.keras.utils.get_file("cats_and_dogs.zip", origin=_URL, extract=True, cache_dir=".")
PATH = os.path.join(os.path.dirname(path_to_zip), "cats_and_dogs")
train_dir = os.path.join(PATH, "train")
validation_dir = os.path.join(PATH, "validation")
num_cats_tr = len(os.listdir(os.path.join(train_dir, "cats")))
num_dogs_tr = len(os.listdir(os.path.join(train_dir, "dogs")))
assert zipfile.is_zipfile(path_to_zip)
with open(os.path.join(validation_dir, "cats", "2.txt")) as f:
    text = f.read()
RESULT = {
    "zip": os.path.basename(path_to_zip), "folder": os.path.relpath(PATH), "text": text,
    "counts": [num_cats_tr, num_dogs_tr], "train": sorted(os.listdir(train_dir)),
}
