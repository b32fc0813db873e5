"""``get_file``: download once, verify, extract, cache.

Who does what, from the outside in:

- ``download`` checks the arguments; ``obtain`` decides what has to be done and does it under a ``lock``;
- ``location`` says where, ``digest`` whether the bytes are right;
- ``transfer`` (with ``http``, ``encoding``, ``retry``) brings the bytes into a part file that ``staging``
  made;
- ``archive`` (``tar``, ``zip``) reads members, ``names`` and ``limits`` judge them, ``tree`` writes them,
  ``extract`` does all of that, ``place`` moves the result to its place, ``marker`` remembers it.
"""

from befit.files.download import get_file
from befit.files.limits import Limits

__all__ = ["get_file", "Limits"]
