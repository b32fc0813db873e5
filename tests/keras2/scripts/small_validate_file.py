# backends: jax
"""validate_file with md5 and sha256, by keyword, by position and by the length of the hash."""
import hashlib

from keras.utils import data_utils
from keras.utils.data_utils import validate_file

content = b"".join(b"%d,%d\n" % (i, i * i) for i in range(20000))
with open("data.csv", "wb") as out:
    out.write(content)

md5 = hashlib.md5(content).hexdigest()
sha = hashlib.sha256(content).hexdigest()
answers = {
    "md5": validate_file("data.csv", md5, "md5"),
    "sha256": validate_file("data.csv", sha, algorithm="sha256"),
    "auto_md5": validate_file(fpath="data.csv", file_hash=md5),
    "auto_sha256": data_utils.validate_file("data.csv", file_hash=sha, algorithm="auto", chunk_size=1024),
    "wrong_md5": validate_file("data.csv", md5[::-1]),
    "wrong_sha256": data_utils.validate_file("data.csv", "0" * 64),
}
assert all(answers[name] is True for name in ("md5", "sha256", "auto_md5", "auto_sha256"))
assert answers["wrong_md5"] is False and answers["wrong_sha256"] is False
with open("data.csv", "ab") as out:
    out.write(b"!")
changed = validate_file("data.csv", sha)
assert not changed
RESULT = dict(answers, changed=changed)
