"""A folder of images as rows: sub-folders are classes."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from befit._internal.optional import require
from befit.errors import DatasetError
from befit.typing import Array

_SUFFIXES = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
_THREADS = 8
_SHOWN = 3


class ImageFolder:
    """The images below a folder, sorted by class and name; rows of shape ``(height, width, 3)``, ``uint8``.

    Pixels are those of ``PIL.Image.open(path).convert("RGB")``. Hidden files and folders are left out, and so
    are files that no image would be called.
    """

    def __init__(self, folder: Path, image_size: tuple[int, int] | None, stack: ExitStack) -> None:
        self._pillow = require("PIL.Image", extra="plot", purpose="reading images")
        self._resize = image_size
        self.paths, self.labels, self.class_names = _listed(folder)
        self._size = image_size
        height, width = self._decoded(self.paths[0]).shape[:2]
        self._size = (height, width)
        self.shape = (len(self.paths), height, width, 3)
        self.dtype = np.dtype(np.uint8)
        threads = ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1), thread_name_prefix="befit-images")
        stack.callback(threads.shutdown, cancel_futures=True)
        self._threads = threads

    def __getitem__(self, rows: slice | Array) -> Array:
        """Return images, decoded in several threads."""
        numbers = np.arange(self.shape[0])[rows]
        result = np.empty((len(numbers), *self.shape[1:]), np.uint8)
        images = self._threads.map(self._decoded, [self.paths[number] for number in numbers])
        for row, image in zip(result, images, strict=True):
            row[:] = image
        return result

    def _decoded(self, path: Path) -> Array:
        try:
            with self._pillow.open(path) as opened:
                if opened.mode.startswith(("I", "F")):
                    raise DatasetError(
                        f"{path} has pixels of more than 8 bits (mode {opened.mode}); convert it, or pack "
                        "arrays"
                    )
                # Some palettes have transparent colours, which convert("RGB") warns of.
                image = opened.convert("RGBA").convert("RGB") if opened.mode == "P" else opened.convert("RGB")
        except DatasetError:
            raise
        except Exception as error:
            raise DatasetError(f"{path} cannot be read as an image: {error}") from error
        height, width = image.height, image.width
        if self._resize is not None:
            if (height, width) != self._resize:
                image = image.resize(self._resize[::-1], self._pillow.Resampling.BILINEAR)
        elif self._size is not None and (height, width) != self._size:
            raise DatasetError(
                f"{path} has {height}x{width} pixels (height x width), {self.paths[0]} has "
                f"{self._size[0]}x{self._size[1]}; pass image_size=(height, width), and all are resized to it"
            )
        return np.asarray(image)


def _listed(folder: Path) -> tuple[list[Path], Array, list[str]]:
    """Return the images, the class of each, and the names of the classes, none if there are no folders."""
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    classes = [entry for entry in entries if entry.is_dir()]
    loose = [entry for entry in entries if entry.is_file() and entry.suffix.lower() in _SUFFIXES]
    if not classes:
        if not loose:
            raise DatasetError(
                f"{folder} has no images; their names have to end in {', '.join(sorted(_SUFFIXES))}"
            )
        return loose, np.empty(0, np.int64), []
    if loose:
        shown = ", ".join([path.name for path in loose[:_SHOWN]] + ["…"] * (len(loose) > _SHOWN))
        raise DatasetError(
            f"{folder} has folders, which are classes, and images beside them ({shown}); move them into one"
        )
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = list(_below(name))
        if not found:
            raise DatasetError(f"{name} is a class without images; remove the folder, or put images into it")
        paths += found
        labels += [label] * len(found)
    return paths, np.array(labels, np.int64), [name.name for name in classes]


def _below(folder: Path) -> Any:
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in _SUFFIXES:
                yield Path(where, name)
