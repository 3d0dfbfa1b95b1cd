"""Experiments as data: read, checked, laid over, written back."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from snntorch_ecl.errors import ConfigError
from snntorch_ecl.experiments import recipe, recipe_names
from snntorch_ecl.models import build
from snntorch_ecl.settings import ExperimentConfig, TrainConfig, from_dict, load_config
from snntorch_ecl.settings._reader import merged


def test_a_config_survives_the_way_through_json() -> None:
    config = ExperimentConfig(levels=8, train=TrainConfig(epochs=3, lr=0.05))
    assert from_dict(ExperimentConfig, json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"level": 4}, "config has unknown settings: level; known are .*levels"),
        ({"train": {"epoch": 1}}, r"config\.train has unknown settings: epoch"),
        ({"levels": "4"}, r"config\.levels must be int or null or mapping; got '4'"),
        ({"train": {"lr": "fast"}}, r"config\.train\.lr must be float; got 'fast'"),
        ({"train": {"epochs": True}}, r"config\.train\.epochs must be int; got True"),
        ({"train": 3}, r"config\.train must be a mapping of settings; got int"),
        ({"levels": 0}, "levels must be an integer >= 1"),
        ({"levels": {"a": "4"}}, r"levels\['a'\]: levels must be an integer >= 1.*got '4'"),
        ({"data": {"name": "mnist"}}, "data.name must be one of digits, .*; got 'mnist'"),
        ({"data": {"name": "folder"}}, "data.root must name the folder of 'folder'"),
    ],
)
def test_bad_settings_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_dict(ExperimentConfig, values)


def test_integers_are_taken_where_floats_are_meant() -> None:
    assert from_dict(TrainConfig, {"lr": 1}).lr == 1.0


def test_flags_win_over_the_file_setting_by_setting(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("levels: 8\ntrain: {epochs: 30, lr: 0.05}\n")
    config = load_config(ExperimentConfig, file, {"train": {"epochs": 2}})
    assert (config.levels, config.train.epochs, config.train.lr) == (8, 2, 0.05)


def test_merging_leaves_both_sides_as_they_were() -> None:
    base, over = {"a": {"b": 1}}, {"a": {"c": 2}}
    assert merged(base, over) == {"a": {"b": 1, "c": 2}}
    assert (base, over) == ({"a": {"b": 1}}, {"a": {"c": 2}})


def test_a_runs_own_json_repeats_it(tmp_path: Path) -> None:
    config = ExperimentConfig(levels=2)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"config": config.to_dict(), "figures": {}}))
    assert load_config(ExperimentConfig, file) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("levels: [", "is not valid YAML"),
        ("- 1\n- 2\n", "must hold settings by name; got list"),
        ("seed: 2020-13-45", "is not valid YAML: month must be in"),
        ("levels: 4\ntrain:\n  lr: 0.1\n  lr: 0.2\n", "has 'lr' twice, the second in line 4"),
        ('{"levels": 4, "levels": 8}', "has 'levels' twice"),
        ("data: {root: {{ root }}}", "is not valid YAML"),
        ("data: {std: [1e-1, 2e-1, 3e-1]}", r"\.data\.std\[0\] must be float; got '1e-1'"),
        ("data: {mean: [0.1, null, 0.2]}", r"\.data\.mean\[1\] must be float; got None"),
        ("seed: 100000000000000000000", r"seed must be less than 2\*\*63"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(ExperimentConfig, file)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / "ann.safetensors"
    file.write_bytes(b"\xff\xfe\x00levels")
    with pytest.raises(ConfigError, match=r"ann\.safetensors cannot be read as text"):
        load_config(ExperimentConfig, file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml cannot be read"):
        load_config(ExperimentConfig, tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_a_valid_config(name: str) -> None:
    root = {} if "digits" in name else {"data": {"root": "somewhere"}}
    config = recipe(name, root)
    assert config.levels is not None
    with torch.device("meta"):  # no memory for weights
        assert build(config.model, classes=2)


def test_the_papers_rows_are_all_there() -> None:
    rows = {f"{m}-{d}" for m in ("vgg16", "resnet18") for d in ("cifar10", "cifar100")}
    assert rows | {"resnet34-imagenet", "vgg16-imagenet"} <= set(recipe_names())


def test_an_unknown_recipe_lists_the_known_ones() -> None:
    with pytest.raises(
        ConfigError,
        match=r"no recipe 'lenet'; the package has conv-vit-cifar10-folder, digits, resnet18",
    ):
        recipe("lenet")


# ------------------------------------------------------------------------- files from strangers

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 20)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{LAUGHS}levels: *a19\n", "holds more than 50,000 values by its aliases"),
        ("levels: &a [*a]\n", "has an alias .* for a value that contains it"),
        ("levels: " + "[" * 1500, "more than 300 brackets"),
        ('{"a":' * 100_000, "is nested too deeply"),
        ("".join(" " * i + "a:\n" for i in range(190)), "unknown settings: a"),
        ("levels: " + "x" * 60_000, "60,008 characters, which is too much"),
        ("levels: !!python/object/apply:os.system ['true']", "is not valid YAML"),
        ("? [a, b]\n: 1\n", "is not valid YAML"),
        ("levels: [" + "1," * 2_000 + "1]", r"levels must be int or null or mapping; got \[1"),
        ("train: {lr: .nan}", "^[^ ]*run.yaml: lr must be finite"),
    ],
)
def test_a_strangers_file_is_one_short_error_that_names_it(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(ExperimentConfig, file)
    assert "run.yaml" in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_aliases_that_are_small_are_followed(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("levels: &n 8\nseed: *n\ntrain: {lr: 0.2}\n")
    assert load_config(ExperimentConfig, file).seed == 8


def test_what_is_no_file_is_not_read() -> None:
    for path in ("/dev/zero", "/"):
        with pytest.raises(ConfigError, match="is not a file"):
            load_config(ExperimentConfig, path)


def test_an_enormous_file_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    with file.open("wb") as opened:
        opened.truncate(10**12)  # of holes
    with pytest.raises(ConfigError, match="1,000,000,000,000 bytes, which is too much"):
        load_config(ExperimentConfig, file)


TEXTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["levels", "train", "data", "lr", "x", ""]), inner)
    ),
    max_leaves=9,
)


@settings(max_examples=30)
@given(values=TEXTS, cut=st.integers(0, 60), kind=st.sampled_from(["yaml", "json", "cut", "raw"]))
def test_any_text_is_settings_or_one_error(
    tmp_path_factory: pytest.TempPathFactory, values: Any, cut: int, kind: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "stranger.yaml"
    text = yaml.safe_dump(values) if kind == "yaml" else json.dumps(values)
    file.write_bytes(text.encode()[:cut] if kind == "cut" else text.encode())
    if kind == "raw":
        file.write_bytes(text.encode("utf-16"))
    try:
        config = load_config(ExperimentConfig, file)
    except ConfigError as error:
        assert str(file) in str(error)  # noqa: PT017 - most texts are no settings
    else:
        assert from_dict(ExperimentConfig, config.to_dict()) == config
