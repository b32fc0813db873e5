"""``get_file``: download once, verify, extract, cache.

Who does what, from the outside in:

- ``download`` makes a ``request`` of its arguments (those about the way are ``options``); ``cached`` says
  what is there already; ``obtain`` does what is missing, under a ``lock``;
- ``location`` says where, ``digest`` whether the bytes are right, ``lockfile`` what a team expects them to
  be; ``stamp`` remembers what was verified, and ``inventory`` lists, verifies and prunes by that;
- ``fetch`` tries one ``origin`` after the other: ``http`` (with ``encoding``), ``local``, ``remote``;
- ``transfer`` brings one file into a ``part``, the folder of a download that is not finished: ``plan`` says
  which bytes are there, each ``connection`` is a thread that brings some, ``pace`` says how many there should
  be, ``retry`` when to try again; each ``follow`` is a thread that reads behind them, for the digest and for
  the extraction;
- ``archive`` tells formats apart; ``decompress`` and ``reader`` bring their bytes, ``tar`` (``tar_header``,
  ``tar_fields``, ``tar_sparse``) and ``zip`` (``zip_directory``) read each ``member``;
- ``extract`` lets ``names`` and ``limits`` judge members, and ``tree`` write them; ``place`` moves the result
  to its place, ``marker`` remembers it;
- ``url`` takes URLs apart and hides what is secret in them.
"""

from befit.files.download import get_file
from befit.files.limits import Limits

__all__ = ["get_file", "Limits"]
