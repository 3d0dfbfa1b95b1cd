"""Folders of image files: what is opened, and what is refused by name."""

import io
import shutil
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset
from torchvision import datasets

from snntorch_ecl.errors import ConfigError, DataError
from snntorch_ecl.experiments import load_data
from snntorch_ecl.experiments._images import test_transform, train_transform
from snntorch_ecl.settings import DataConfig
from tests.helpers.runs import image_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, three images each in train, one in test; class b is brighter."""
    for part, count in (("train", 3), ("test", 1)):
        for label, grey in (("a", 50), ("b", 200)):
            target = tmp_path / part / label
            target.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (8, 8), (grey,) * 3).save(target / f"{number}.png")
    return tmp_path


def config(root: Path, **settings: object) -> DataConfig:
    plain = {"mean": (0.0,) * 3, "std": (1.0,) * 3, "image_size": 8, **settings}
    return DataConfig(name="folder", root=str(root), **plain)


def test_images_labels_and_class_names(folder: Path) -> None:
    split, classes = load_data(config(folder))
    assert classes == ("a", "b")
    assert (len(split.train), len(split.test)) == (6, 2)
    image, label = split.test[1]
    assert label == 1
    assert torch.allclose(image, torch.full((3, 8, 8), 200 / 255))


def test_val_stands_in_for_test(folder: Path) -> None:
    (folder / "test").rename(folder / "val")
    assert len(load_data(config(folder))[0].test) == 2


def test_cutout_blanks_a_square_and_nothing_else(folder: Path) -> None:
    settings = config(folder, cutout=4, crop_padding=0, flip=False)
    image = train_transform(settings)(Image.new("RGB", (8, 8), (255,) * 3))
    assert int((image[0] == 0).sum()) == 16
    assert int((image[0] == 1).sum()) == 48


@pytest.mark.parametrize("policy", ["cifar10", "imagenet"])
def test_autoaugment_varies_training_images_alone(tmp_path: Path, policy: str) -> None:
    root = image_folder(tmp_path)
    still = {"crop_padding": 0, "flip": False}
    split, _ = load_data(config(root, auto_augment=policy, **still))
    plain, _ = load_data(config(root, **still))
    torch.manual_seed(0)
    varied = [split.train[0][0] for _ in range(20)]
    assert len({tuple(image.flatten().tolist()) for image in varied}) > 3
    assert all(image.shape == plain.train[0][0].shape for image in varied)
    assert torch.equal(split.test[0][0], plain.test[0][0])


@pytest.mark.parametrize("missing", ["train", "test"])
def test_a_missing_folder_is_named(folder: Path, missing: str) -> None:
    (folder / missing).rename(folder / "elsewhere")
    name = {"train": "train", "test": "val"}[missing]
    with pytest.raises(DataError, match=f"no folder .*{name}; a folder data set has"):
        load_data(config(folder))


def test_an_empty_class_folder_is_named(folder: Path) -> None:
    for file in (folder / "train" / "a").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"train has no images in class folders.*a"):
        load_data(config(folder))


def test_classes_that_differ_are_named(folder: Path) -> None:
    (folder / "test" / "b").rename(folder / "test" / "c")
    with pytest.raises(DataError, match=r"different classes: \['a', 'b'\] and \['a', 'c'\]"):
        load_data(config(folder))


def test_a_corrupt_image_is_an_error_that_names_it(folder: Path) -> None:
    (folder / "train" / "a" / "0.png").write_bytes(b"no image")
    split, _ = load_data(config(folder))
    with pytest.raises(DataError, match=r"a/0\.png is not a readable image.*on_corrupt to skip"):
        _ = split.train[0]


def test_a_corrupt_image_is_skipped_and_counted_by_choice(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "train" / "a" / "0.png").write_bytes(b"no image")
    split, _ = load_data(config(folder, on_corrupt="skip"))
    assert [label for _, label in (split.train[i] for i in range(5))] == [0, 0, 1, 1, 1]
    assert "train: 1 of 6 files are no images; skipped" in capsys.readouterr().out


def test_nothing_but_corrupt_images_is_an_error(folder: Path) -> None:
    for file in (folder / "test").rglob("*.png"):
        file.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"none of the 2 files in .*test"):
        load_data(config(folder, on_corrupt="skip"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 0}, "data.image_size must be an integer >= 1; got 0"),
        ({"std": (1.0, 0.0, 1.0)}, "std > 0"),
        ({"std": (1.0,)}, "each of 3 channels"),
        ({"std": (1.0, float("inf"), 1.0)}, "a finite number"),
        ({"cutout": 8}, "data.cutout must be less than image_size=8; got 8"),
        ({"seed": 2**63}, "data.seed must be less than"),
        ({"auto_augment": "mnist"}, "auto_augment must be one of none, cifar10, imagenet"),
    ],
)
def test_bad_settings_are_named(tmp_path: Path, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(tmp_path, **settings)


# --------------------------------------------------------------------- torchvision's data sets


class FakeCifar(TensorDataset):
    """Stands in for torchvision's, which would download."""

    asked: ClassVar[list[dict[str, object]]] = []

    def __init__(self, root: Path, **options: object) -> None:
        self.asked.append({"root": root, **options})
        super().__init__(torch.zeros(1))
        self.classes = [f"class {number}" for number in range(100)]


@pytest.mark.parametrize(("name", "kind"), [("cifar10", "CIFAR10"), ("cifar100", "CIFAR100")])
def test_cifar_is_downloaded_and_only_training_images_vary(
    name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, kind, FakeCifar)
    FakeCifar.asked.clear()
    _, classes = load_data(DataConfig(name=name, root=str(tmp_path), cutout=8))
    train, test = FakeCifar.asked
    assert (train["train"], test["train"]) == (True, False)
    assert train["download"] is test["download"] is True
    assert "RandomCrop" in str(train["transform"])
    assert "Random" not in str(test["transform"])
    assert len(classes) == 100


def test_a_download_that_fails_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: object, **options: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(datasets, "CIFAR10", fails)
    with pytest.raises(DataError, match=r"cifar10 cannot be opened or downloaded at .*no route"):
        load_data(DataConfig(name="cifar10", root=str(tmp_path)))


def test_imagenet_is_not_downloaded(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    with pytest.raises(DataError, match=r"no folder .*gone; ImageNet has to be downloaded by hand"):
        load_data(DataConfig(name="imagenet", root=str(gone), image_size=224))
    with pytest.raises(DataError, match="imagenet cannot be opened"):
        load_data(DataConfig(name="imagenet", root=str(tmp_path), image_size=224))


@pytest.mark.parametrize(("size", "expected"), [(32, (3, 32, 32)), (224, (3, 224, 224))])
def test_images_get_the_size_that_is_asked_for(size: int, expected: tuple[int, ...]) -> None:
    settings = DataConfig(name="folder", root="x", image_size=size)
    image = Image.new("RGB", (300, 260))
    assert train_transform(settings)(image).shape == expected
    assert test_transform(settings)(image).shape == expected


def test_a_single_class_is_named(folder: Path) -> None:
    for part in ("train", "test"):
        shutil.rmtree(folder / part / "b")
    with pytest.raises(DataError, match="the one class folder 'a'"):
        load_data(config(folder))


def test_the_digits_have_no_folder() -> None:
    with pytest.raises(ConfigError, match=r"data\.root is '/x', but the digits have no folder"):
        DataConfig(root="/x")


def damaged_headers() -> dict[str, bytes]:
    """Files at which Pillow raises other errors than those of its documentation."""
    png = io.BytesIO()
    Image.new("RGB", (8, 8)).save(png, "PNG")
    head = png.getvalue()
    short = head[:8] + (5).to_bytes(4, "big") + head[12:21] + head[29:]  # IHDR of 5 bytes
    giant = b"P6 99999 99999 255\n" + bytes(100)
    return {"short.png": short, "giant.ppm": giant}


@pytest.mark.parametrize("name", ["short.png", "giant.ppm"])
def test_damaged_headers_are_corrupt_images(folder: Path, name: str) -> None:
    path = folder / "train" / "a" / name
    path.write_bytes(damaged_headers()[name])
    with pytest.raises(Exception) as foreign, Image.open(path) as image:  # noqa: PT011
        image.convert("RGB")
    assert not isinstance(foreign.value, (OSError, SyntaxError)), "no longer a foreign error"
    assert len(load_data(config(folder, on_corrupt="skip"))[0].train) == 6
    train = load_data(config(folder))[0].train
    with pytest.raises(DataError, match=f"{name} is not a readable image"):
        list(train)
