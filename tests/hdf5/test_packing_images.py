"""pack() of folders of images; oracle: Pillow."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from befit.errors import DatasetError
from befit.hdf5.packing import pack

Image = pytest.importorskip("PIL.Image")

RNG = np.random.default_rng(0)


def picture(path: Path, size: tuple[int, int] = (6, 4), mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (*size, 3), "uint8")).convert(mode).save(path)
    return path


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, five images, and what is no image."""
    folder = tmp_path / "in"
    for name in ("dog/b.png", "dog/a.JPG", "cat/2.bmp", "cat/more/1.png", "cat/10.gif"):
        picture(folder / name)
    (folder / "dog/notes.txt").write_text("no image")
    picture(folder / "dog/.hidden.png")
    picture(folder / ".checkpoints/a.png")
    picture(folder / "cat/.cache/a.png")
    return folder


@pytest.mark.parametrize("shuffle", [False, True])
def test_sub_folders_are_classes(folder: Path, tmp_path: Path, shuffle: bool) -> None:
    packed = pack(folder, tmp_path / "out.h5", shuffle_rows=shuffle, seed=5)
    order = np.random.default_rng(5).permutation(5) if shuffle else np.arange(5)
    names = ["cat/10.gif", "cat/2.bmp", "cat/more/1.png", "dog/a.JPG", "dog/b.png"]
    with h5py.File(tmp_path / "out.h5") as file:
        images, labels = file["images"], file["labels"]
        assert (images.dtype, images.shape, labels.dtype) == (np.uint8, (5, 6, 4, 3), np.int64)
        for row, number in enumerate(order):
            np.testing.assert_array_equal(images[row], pixels(folder / names[number]))
        assert labels[:].tolist() == np.array([0, 0, 0, 1, 1])[order].tolist()
        assert list(labels.attrs["class_names"]) == ["cat", "dog"]
    assert [dataset.layout.dataset for dataset in packed.datasets] == ["images", "labels"]


def test_images_without_classes(tmp_path: Path) -> None:
    paths = [picture(tmp_path / "in" / f"{name}.png") for name in "ba"]
    pack(tmp_path / "in", tmp_path / "out.h5")
    with h5py.File(tmp_path / "out.h5") as file:
        assert list(file) == ["images"]
        np.testing.assert_array_equal(file["images"][:], [pixels(path) for path in sorted(paths)])


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK"])
def test_every_mode_becomes_rgb(mode: str, tmp_path: Path) -> None:
    path = picture(tmp_path / "in/c/x.tif", mode=mode)
    pack(tmp_path / "in", tmp_path / "out.h5")
    with h5py.File(tmp_path / "out.h5") as file:
        np.testing.assert_array_equal(file["images"][0], pixels(path))


def test_a_palette_with_transparency(tmp_path: Path) -> None:
    """Pillow warns of it, which is no reason to stop."""
    (tmp_path / "in").mkdir()
    image = Image.fromarray(RNG.integers(0, 256, (6, 4, 3), "uint8")).convert("P")
    image.save(tmp_path / "in/x.png", transparency=bytes(range(200)))
    pack(tmp_path / "in", tmp_path / "out.h5")
    with h5py.File(tmp_path / "out.h5") as file:
        np.testing.assert_array_equal(file["images"][0], np.asarray(image.convert("RGB")))


def test_different_sizes_need_one(folder: Path, tmp_path: Path) -> None:
    odd = picture(folder / "dog/c.png", size=(8, 5))
    with pytest.raises(DatasetError, match=r"c\.png has 8x5 pixels .*10\.gif has 6x4; pass image_size="):
        pack(folder, tmp_path / "out.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    pack(folder, tmp_path / "out.h5", image_size=(4, 3))
    with h5py.File(tmp_path / "out.h5") as file, Image.open(odd) as image:
        assert file["images"].shape == (6, 4, 3, 3)
        expected = np.asarray(image.convert("RGB").resize((3, 4), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(file["images"][5], expected)


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "16 bits"])
def test_a_broken_image_is_named(damage: str, folder: Path, tmp_path: Path) -> None:
    path = folder / "dog/z.png"
    if damage == "cut":
        picture(path, size=(600, 400))
        path.write_bytes(path.read_bytes()[:9000])
    elif damage == "16 bits":
        Image.fromarray(np.full((6, 4), 60000, "uint16")).save(path)
    else:
        path.write_text("no image" * (damage == "text"))
    with pytest.raises(DatasetError, match=r"dog/z\.png"):
        pack(folder, tmp_path / "out.h5", image_size=(6, 4))
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_folders_that_are_no_classes(folder: Path, tmp_path: Path) -> None:
    loose = picture(folder / "loose.png")
    with pytest.raises(DatasetError, match=r"images beside them \(loose\.png\)"):
        pack(folder, tmp_path / "out.h5")
    loose.unlink()
    (folder / "empty").mkdir()
    with pytest.raises(DatasetError, match="empty is a class without images"):
        pack(folder, tmp_path / "out.h5")
    with pytest.raises(DatasetError, match="has no images; their names have to end in"):
        pack(folder / "empty", tmp_path / "out.h5")


def test_images_may_be_packed_into_their_own_folder(folder: Path) -> None:
    pack(folder, folder / "all.h5")
    pack(folder, folder / "all.h5", overwrite=True)
    with h5py.File(folder / "all.h5") as file:
        assert len(file["images"]) == 5
