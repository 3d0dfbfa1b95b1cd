"""The sweep over L and T: each point by itself, interrupted, repeated; and the Pareto front."""

import functools
import json
from dataclasses import replace
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader

from snntorch_ecl import convert, evaluate
from snntorch_ecl._util.tables import render
from snntorch_ecl.errors import ConfigError, DataError
from snntorch_ecl.experiments import Point, SweepConfig, load_data, recipe, run_sweep
from snntorch_ecl.experiments import _sweep_run as sweep
from snntorch_ecl.experiments._sweep import pareto_front
from snntorch_ecl.models import load_ann, save_ann
from snntorch_ecl.models._checkpoint import build_ann
from snntorch_ecl.settings import ExperimentConfig, TrainConfig, load_config
from snntorch_ecl.training import fit

from ..helpers.runs import experiment

pytestmark = pytest.mark.usefixtures("quick_pictures")


@pytest.fixture(scope="module")
def config(root: Path) -> SweepConfig:
    small = experiment(root, train={"epochs": 1})
    return SweepConfig(experiment=small, levels=(2, 4), steps=(1, 3), seeds=2)


@pytest.fixture(scope="module")
def done(
    config: SweepConfig, quick_pictures: None, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    run_sweep(config, folder, progress=False)
    return folder


def figures(folder: Path) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads((folder / "sweep.json").read_text())
    return dict(stored["figures"])


def test_each_point_is_a_training_of_its_own(config: SweepConfig, done: Path) -> None:
    split, _ = load_data(config.experiment.data)

    @functools.cache
    def accuracies(levels: int, seed: int) -> tuple[float, ...]:
        train = replace(config.experiment.train, seed=seed)
        run = replace(config.experiment, levels=levels, seed=seed, train=train)
        torch.manual_seed(seed)
        ann = fit(build_ann(run, classes=2), split.train, train, classes=2, progress=False)
        loader = DataLoader(split.test, batch_size=4)
        return evaluate(convert(ann), loader, num_steps=3, progress=False).accuracy

    for point in figures(done)["points"]:
        for seed, accuracy in enumerate(point["accuracies"]):
            assert accuracy == accuracies(point["levels"], seed)[point["num_steps"] - 1]


def test_an_interrupted_sweep_goes_on_where_it_stopped(
    config: SweepConfig, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[int, int]] = []

    def train(experiment: object, levels: int, seed: int, *rest: Any) -> Any:
        if len(trained) == 2:
            raise RuntimeError("power cut")
        trained.append((levels, seed))
        return whole_train(experiment, levels, seed, *rest)  # type: ignore[arg-type]

    whole_train = sweep._train
    monkeypatch.setattr(sweep, "_train", train)
    with pytest.raises(RuntimeError, match="power cut"):
        run_sweep(config, tmp_path, progress=False)
    assert trained == [(2, 0), (2, 1)]
    trained.clear()
    run_sweep(config, tmp_path, progress=False)
    assert trained == [(4, 0), (4, 1)]
    assert figures(tmp_path) == figures(done)


def test_a_finished_sweep_is_repeated_from_its_json_without_training(
    config: SweepConfig, done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "_train", lambda *args: pytest.fail("it trained"))
    again = load_config(SweepConfig, done / "sweep.json")
    assert again == config
    before = figures(done)
    run_sweep(again, done, progress=False)
    assert figures(done) == before


def test_a_sweep_of_other_settings_is_not_overwritten(config: SweepConfig, done: Path) -> None:
    before = (done / "sweep.json").read_bytes()
    with pytest.raises(ConfigError, match=r"had other settings: steps was \[1, 3\], now \[1, 2\]"):
        run_sweep(replace(config, steps=(1, 2)), done, progress=False)
    assert (done / "sweep.json").read_bytes() == before


def test_a_file_that_is_no_sweep_is_named(config: SweepConfig, tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text('{"config": 3}')
    with pytest.raises(DataError, match=r"sweep\.json is not a sweep that can be continued"):
        run_sweep(config, tmp_path, progress=False)


def test_table_and_picture_show_mean_and_spread(config: SweepConfig, done: Path) -> None:
    result = run_sweep(config, done, progress=False)
    text = render(result.table())
    for point in result.points:
        values = [100 * accuracy for accuracy in point.accuracies]
        assert f"{sum(values) / 2:.2f} ± {stdev(values):.2f}" in text
    picture = (done / "sweep.svg").read_text()
    assert picture.startswith("<?xml")
    assert len(result.plot().axes[0].get_lines()) >= 2


def test_the_default_is_the_recipe_for_digits() -> None:
    assert SweepConfig().experiment == recipe("digits")


@pytest.mark.parametrize("name", ["levels", "steps"])
@pytest.mark.parametrize("value", [(), (0,), (1.5,)])
def test_bad_grids_are_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{name} "):
        SweepConfig(**{name: value})


def test_a_relu_network_has_no_levels_to_sweep() -> None:
    with pytest.raises(ConfigError, match=r"experiment\.relu must be false"):
        SweepConfig(experiment=replace(recipe("digits"), relu=True))


# --------------------------------------------------------------------------------- Pareto front

points = st.builds(
    Point,
    st.sampled_from([2, 4, 8]),
    st.sampled_from([1, 2, 4, 8]),
    st.lists(st.sampled_from([0.1, 0.5, 0.7, 0.9]), min_size=1, max_size=1).map(tuple),
)


@given(st.lists(points, max_size=12))
def test_the_front_is_what_no_point_beats(grid: list[Point]) -> None:
    """By the definition, pair by pair."""

    def beats(one: Point, other: Point) -> bool:
        no_worse = one.num_steps <= other.num_steps and one.mean >= other.mean
        return no_worse and (one.num_steps < other.num_steps or one.mean > other.mean)

    unbeaten = {(p.num_steps, p.mean) for p in grid if not any(beats(q, p) for q in grid)}
    front = pareto_front(grid)
    assert [(p.num_steps, p.mean) for p in front] == sorted(unbeaten)


def test_a_sweep_starts_from_the_weights_it_is_given(config: SweepConfig, tmp_path: Path) -> None:
    relu = replace(config.experiment, relu=True)
    source = save_ann(
        tmp_path / "relu.safetensors", build_ann(relu, classes=2), relu, classes=("blue", "red")
    )
    begun = []
    fitted = sweep.fit

    def watched(ann: nn.Module, *arguments: Any, **options: Any) -> nn.Module:
        begun.append({name: value.clone() for name, value in ann.state_dict().items()})
        return fitted(ann, *arguments, **options)

    run = replace(config.experiment, weights=str(source))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "fit", watched)
        run_sweep(replace(config, experiment=run, seeds=1, levels=(2,)), tmp_path, progress=False)
    weights = load_ann(source).ann.state_dict()
    assert all(torch.equal(begun[0][name], value) for name, value in weights.items())


def test_a_folder_that_cannot_be_written_to_is_named_before_any_training(
    config: SweepConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(sweep, "fit", None)
    with pytest.raises(DataError, match="file cannot be written to"):
        run_sweep(config, tmp_path / "file", progress=False)


def test_levels_that_training_learns_are_none_to_sweep() -> None:
    learns = ExperimentConfig(train=TrainConfig(level_penalty=0.1))
    with pytest.raises(ConfigError, match=r"level_penalty must be 0"):
        SweepConfig(experiment=learns)
