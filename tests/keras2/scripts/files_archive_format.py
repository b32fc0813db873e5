# backends: jax
"""get_file(extract=True, archive_format=): tar, zip, auto, and None, which does not extract."""
import os
import tarfile
import zipfile

from keras import utils

with open("words.txt", "w") as f:
    f.write("one two three")
for kind, mode in (("gz", "w:gz"), ("bz2", "w:bz2"), ("plain", "w")):
    with tarfile.open("words-" + kind + ".tar", mode) as tar:
        tar.add("words.txt", arcname=kind + "/words.txt")
with zipfile.ZipFile("words.zip", "w") as z:
    z.write("words.txt", arcname="zip/words.txt")


def fetch(fname, folder, **kwargs):
    path = utils.get_file(fname, origin="file://" + os.path.abspath(fname), extract=True,
                          cache_dir=".", cache_subdir=folder, **kwargs)
    assert os.path.isfile(path)
    return sorted(os.listdir(os.path.dirname(path)))


found = {
    "gz": fetch("words-gz.tar", "a", archive_format="tar"),
    "bz2": fetch("words-bz2.tar", "b", archive_format="auto"),
    "plain": fetch("words-plain.tar", "c"),
    "zip": fetch("words.zip", "d", archive_format="zip"),
    "either": fetch("words.zip", "e", archive_format=["tar", "zip"]),
    "none": fetch("words.zip", "f", archive_format=None),
}
texts = []
for folder, kind in zip("abcd", ["gz", "bz2", "plain", "zip"]):
    with open(os.path.join(folder, kind, "words.txt")) as f:
        texts.append(f.read().split())
assert texts == [["one", "two", "three"]] * 4
assert [name for name in found["none"] if not name.startswith(".")] == ["words.zip"]
RESULT = {"found": found, "texts": [" ".join(words) for words in texts]}
