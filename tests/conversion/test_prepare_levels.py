"""``prepare(levels={…})``: each layer's own L, by name or pattern."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import snntorch_ecl as ecl
from snntorch_ecl.errors import ConfigError
from snntorch_ecl.settings import ExperimentConfig, from_dict
from tests.helpers.parts import clips_of, set_thresholds

pytestmark = pytest.mark.usefixtures("seeded_without_gradients")


def network() -> nn.Module:
    """Rectifiers ``0.1``, ``0.3``, ``1.1`` and ``1.3``."""
    parts = [
        nn.Sequential(nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 5), nn.ReLU()) for _ in range(2)
    ]
    return nn.Sequential(*parts, nn.Linear(5, 3)).eval()


def found(levels: Any, model: nn.Module | None = None) -> list[int | None]:
    ann = ecl.prepare(network() if model is None else model, levels=levels)
    return [clip.levels for clip in clips_of(ann).values()]


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ({"0.3": 2}, [4, 2, 4, 4]),  # the rest: prepare's own default
        ({"0.3": 2, "*": 8}, [8, 2, 8, 8]),
        ({"*": 8, "0.3": 2}, [8, 2, 8, 8]),
        ({"1.*": 3, "1.1": 6, "*": None}, [None, None, 6, 3]),  # a name wins over a pattern
        ({"0.*": 3, "?.3": 3}, [3, 3, 4, 3]),  # patterns that agree
        ({"*.3": 1}, [4, 1, 4, 1]),
    ],
)
def test_names_win_over_patterns_and_these_over_the_rest(
    levels: Any, expected: list[int | None]
) -> None:
    assert found(levels) == expected


def test_clips_that_are_there_keep_theirs_unless_named() -> None:
    ann = ecl.prepare(network(), levels={"0.1": 3, "*": 5})
    assert found({"1.3": 2}, ann) == [3, 5, 5, 2]
    assert found({"*": 2}, ann) == [2, 2, 2, 2]


def test_signed_clips_are_named_as_in_the_result() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    ann = ecl.prepare(model, signed=True, levels={"2_clip": 2, "*": 6})
    assert {name: clip.levels for name, clip in clips_of(ann).items()} == {"2_clip": 2, "3": 6}


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ({"0.2": 3}, r"levels names '0.2', but none of the 4 layers .* near: .*0\.1"),
        ({"stage*": 3}, r"levels names 'stage\*', but none"),
        ({"0.*": 3, "*.1": 2}, r"levels of 0\.1: '0\.\*' \(3\) and '\*\.1' \(2\) .* disagree"),
        ({"0.1": 0}, r"levels\['0.1'\]: levels must be an integer >= 1.*got 0"),
        ({"0.1": True}, r"levels\['0.1'\]: .*got True"),
        ({1: 4}, "keys; got 1"),
        ({}, "empty mapping"),
        ([4, 4], r"levels must be an integer >= 1, .*got \[4, 4\]"),
    ],
)
def test_bad_levels_say_what_is_wrong(levels: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        found(levels)


def test_each_layer_quantises_and_settles_with_its_own_levels(tmp_path: Path) -> None:
    """What is equal to the ANN has each layer's L: settling and graded spikes, from a file too."""
    ann = ecl.prepare(network(), levels={"0.1": 1, "0.3": 7, "1.*": 3})
    x = torch.randn(64, 5)
    set_thresholds(ann, x)
    values: dict[str, int] = {}
    for name, clip in clips_of(ann).items():
        clip.register_forward_hook(
            lambda clip, args, out, name=name: values.__setitem__(name, len(out.unique()))
        )
    wanted = ann(x)
    assert values["0.1"] == 2
    assert values["0.3"] > 4  # more than an L of 3 would allow
    assert values["1.1"] <= values["1.3"] + 1 <= 5
    snn = ecl.convert(ann)
    assert [layer.levels for layer in snn.layers] == [1, 7, 3, 3]
    read = ecl.load(snn.save(tmp_path / "snn.safetensors"), network())
    for each in (snn, read):
        torch.testing.assert_close(each.settle(x).output, wanted)
        torch.testing.assert_close(ecl.graded(each)(x, num_steps=1), wanted)
    assert "made for T = L = 1 to 7" in str(read)


def test_an_experiment_takes_levels_by_name_and_its_file_keeps_them(tmp_path: Path) -> None:
    config = from_dict(ExperimentConfig, {"levels": {"stage1.*": 2, "*": 6}})
    assert from_dict(ExperimentConfig, config.to_dict()) == config
    ann = ecl.prepare(ecl.models.build("digit_net", classes=3), levels=config.levels)
    file = ecl.models.save_ann(tmp_path / "a.safetensors", ann, config, classes=("a", "b", "c"))
    read = ecl.models.load_ann(file).ann
    levels = {name: clip.levels for name, clip in clips_of(read).items()}
    assert levels == {name: clip.levels for name, clip in clips_of(ann).items()}
    assert set(levels.values()) == {2, 6}
