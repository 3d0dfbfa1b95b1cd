"""Training's settings: what is refused, what is told, and what the machine gives."""

import dataclasses
import math
import warnings
from typing import Any

import pytest

from snntorch_ecl.errors import ConfigError
from snntorch_ecl.settings import TrainConfig
from snntorch_ecl.training import fit
from tests.helpers.fits import DATA, config, net, trained

# ------------------------------------------------------------------------------ TrainConfig


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[(field, value) for field in ("epochs", "batch_size") for value in (0, -1, 1.5, True)],
        *[("lr", value) for value in (0, -0.1, math.nan, math.inf)],
        *[
            (field, value)
            for field in ("momentum", "label_smoothing")
            for value in (-0.1, 1, math.nan)
        ],
        *[
            (field, value)
            for field in ("weight_decay", "threshold_decay", "level_penalty", "gradient_clip")
            for value in (-1e-9, math.nan)
        ],
        *[(field, value) for field in ("workers", "seed") for value in (-1, 1.5, True, "x")],
        ("precision", "64-true"),
    ],
)
def test_a_bad_setting_is_refused_by_name_and_value(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{field} must ") as caught:
        TrainConfig(**{field: value})
    assert str(caught.value).endswith(f"got {value!r}")


@pytest.mark.parametrize(
    "settings",
    [
        {"epochs": 1, "batch_size": 1, "lr": 1e-9},
        {"momentum": 0, "label_smoothing": 0, "weight_decay": 0, "threshold_decay": 0},
        {"gradient_clip": 0, "workers": 0, "precision": "bf16-mixed"},
    ],
)
def test_settings_at_the_edge_pass(settings: dict[str, Any]) -> None:
    made = TrainConfig(**settings)
    assert {name: getattr(made, name) for name in settings} == settings


@pytest.mark.parametrize(
    ("precision", "fast", "told"),
    [("bf16-mixed", False, True), ("bf16-mixed", True, False), ("32-true", False, False)],
)
def test_a_precision_that_the_processor_has_not_is_told(
    precision: str, fast: bool, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snntorch_ecl.training._fit.multiplies_bfloat16", lambda: fast)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        trained(epochs=1, precision=precision)
    messages = [str(w.message) for w in seen if "ten times as long as '32-true'" in str(w.message)]
    assert len(messages) == told


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().lr = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    "where",
    [
        {"accelerator": "xyz"},
        {"accelerator": "cpu", "devices": 0},
        {"accelerator": "cpu", "devices": -1},
        {"accelerator": "cpu", "num_nodes": 0},
    ],
)
def test_a_machine_that_there_is_not_is_a_setting(where: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{list(where)[-1]}"):
        fit(net(), DATA, config(), progress=False, **where)
