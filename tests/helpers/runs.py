"""A tiny image data set and runs on it, for the tests of experiments."""

import os
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path

import torch
from PIL import Image

from snntorch_ecl.models import ResNet, _build, load_ann
from snntorch_ecl.settings import DataConfig, ExperimentConfig, TrainConfig

CLASSES = ("blue", "red")

# All that is in a ResNet-20 is in it: norms, shortcuts, one of them projected.
SMALL = "small_resnet"
CLIPS, NORMS = 5, 6
_build._BUILDERS[SMALL] = partial(ResNet, (1, 1), width=8)


def image_folder(root: Path, *, train: int = 16, test: int = 9) -> Path:
    """Two classes of noisy 8×8 images, told apart by their colour."""
    generator = torch.Generator().manual_seed(0)
    for split, count in (("train", train), ("test", test)):
        for channel, name in ((2, CLASSES[0]), (0, CLASSES[1])):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = torch.randint(0, 120, (8, 8, 3), generator=generator, dtype=torch.uint8)
                pixels[..., channel] += 60
                Image.fromarray(pixels.numpy()).save(folder / f"{index:02}.png")
    return root


def experiment(root: Path, **changes: object) -> ExperimentConfig:
    """A small network on :func:`image_folder` that trains in a second."""
    train = {"epochs": 3, "batch_size": 8, "lr": 0.02, **changes.pop("train", {})}  # type: ignore[dict-item]
    data = {"image_size": 8, "crop_padding": 1, **changes.pop("data", {})}  # type: ignore[dict-item]
    settings = {"model": SMALL, **changes}
    return ExperimentConfig(
        data=DataConfig(name="folder", root=str(root), **data),  # type: ignore[arg-type]
        train=TrainConfig(**train),  # type: ignore[arg-type]
        **settings,  # type: ignore[arg-type]
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The state dict of a training's network."""
    return load_ann(folder / "ann.safetensors").ann.state_dict()


def python(code: str, *arguments: object, processes: int = 1) -> subprocess.CompletedProcess[str]:
    """Run code in processes of its own, as a user's script."""
    script = Path(str(arguments[0])) / "script.py"
    script.write_text(textwrap.dedent(code))
    several = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--standalone"]
    command = [sys.executable, *(several if processes > 1 else []), str(script)]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    return subprocess.run(
        [*command, *map(str, arguments)], env=environment, capture_output=True, text=True
    )
