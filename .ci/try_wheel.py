"""What must work where nothing but the wheel is installed: data files are there, a network runs."""

from pathlib import Path

import torch

import snntorch_ecl as ecl
from snntorch_ecl.experiments import recipe, recipe_names

installed = Path(ecl.__file__).parent
assert "site-packages" in installed.parts, f"this is not the wheel: {installed}"
for name in recipe_names():
    recipe(name, {} if name == "digits" else {"data": {"root": "data"}})
for name in ecl.models.pretrained_snn_names():
    ecl.models.load_pretrained_snn(name)
snn = ecl.convert(ecl.models.load_pretrained("resnet20-cifar10-l4").ann)
assert snn(torch.rand(2, 3, 32, 32), num_steps=2).shape == (2, 10)
print(f"snntorch-ecl {ecl.__version__}: {len(recipe_names())} recipes, networks load and run")
