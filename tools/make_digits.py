"""Makes ``src/befit/cli/demo/digits.tar.gz`` from the copy of the data that scikit-learn ships.

Run it where scikit-learn is installed; the result is the same to the byte each time.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

DEMO = Path(__file__).parents[1] / "src" / "befit" / "cli" / "demo"


def main() -> None:
    digits = load_digits()
    rows = np.column_stack([digits.data.astype(np.int64), digits.target])
    table = io.StringIO()
    np.savetxt(table, rows, fmt="%d", delimiter=",")
    members = {
        "digits/digits.csv": table.getvalue().encode(),
        "digits/LICENSE.txt": (DEMO / "DATA-LICENSE.txt").read_bytes(),
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    target = DEMO / "digits.tar.gz"
    target.write_bytes(gzip.compress(buffer.getvalue(), compresslevel=9, mtime=0))
    print(
        target.name, target.stat().st_size, "bytes, sha256", hashlib.sha256(target.read_bytes()).hexdigest()
    )


if __name__ == "__main__":
    main()
