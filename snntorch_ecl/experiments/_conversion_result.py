"""What a conversion measured, and where it put it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from .._util.results import Result
from .._util.tables import percent, table
from ..measurement import Evaluation, Verification
from ._conversion_config import ConversionConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Outcome:
    """Figures on images that were not converted with.

    Attributes:
        evaluation: Answers at every T; accuracy means nothing unless ``labelled``.
        verification: Layer by layer.
        labelled: Whether the images' classes are known.
        classes: Names of the class folders, if any.
        compensation: The record of ``compensate``, if it ran.
    """

    evaluation: Evaluation
    verification: Verification
    labelled: bool
    classes: tuple[str, ...]
    compensation: Any


@dataclass(frozen=True)
class ConversionResult(Result):
    """The result of :func:`run_conversion`. ``print`` it, take ``to_dict()``, or draw it.

    Attributes:
        config: The settings.
        output_dir: Where the files are.
        calibration: How many images it was converted with.
        seconds: Wall time.
        outcome: What was measured.
    """

    config: ConversionConfig
    output_dir: Path
    calibration: int
    seconds: float
    outcome: Outcome

    @property
    def network(self) -> Path:
        """The file of the spiking network."""
        return self.output_dir / "network.safetensors"

    @property
    def report(self) -> Path:
        """The page."""
        return self.output_dir / "report.html"

    @property
    def record(self) -> Path:
        """Settings and figures as JSON."""
        return self.output_dir / "conversion.json"

    @property
    def code(self) -> str:
        """Three lines of Python that load the network and run it."""
        module, _, factory = self.config.model.partition(":")
        first, *rest = factory.split(".")
        call = ".".join((first, *rest)) + "()"
        example = f"torch.zeros{self.config.example_shape}"
        return (
            f"import torch; import snntorch_ecl as ecl; from {module} import {first}\n"
            f"snn = ecl.load({str(self.network.resolve())!r}, {call}, example={example})\n"
            f"logits = snn(images, num_steps={self.config.num_steps})"
        )

    def rows(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Columns and rows of the answers at each T, in per cent."""
        found, levels = self.outcome.evaluation, str(self.outcome.evaluation.levels_per_step)
        assert found.agreement is not None  # the ANN was given
        rows = []
        for steps in shown_steps(found.num_steps):
            shares = [found.agreement[steps - 1]]
            if self.outcome.labelled:
                shares.insert(0, found.accuracy[steps - 1])
            rows.append((f"T = {steps}", levels, *map(percent, shares)))
        if not self.outcome.labelled:
            return ("steps", "levels a step", "agreement with ANN"), rows
        rows.append(("ANN", "–", percent(found.ann_accuracy), "–"))
        return ("steps", "levels a step", "accuracy", "agreement with ANN"), rows

    def table(self) -> Table:
        """Accuracy, if the classes are known, and agreement with the original, in per cent."""
        columns, rows = self.rows()
        samples = self.outcome.evaluation.samples
        return table(f"{samples:,} images that it was not converted with, %", columns, rows)

    def tables(self) -> tuple[Table, ...]:
        """Answers, and the layers."""
        return self.table(), self.outcome.verification.table()

    def figures(self) -> dict[str, Any]:
        """The figures as plain data; no accuracy where the classes are not known."""
        found, layers = self.outcome.evaluation.to_dict(), self.outcome.verification.to_dict()
        if not self.outcome.labelled:
            found = {k: v for k, v in found.items() if k not in ("accuracy", "ann_accuracy")}
        corrections = self.outcome.compensation
        return {
            "calibration_images": self.calibration,
            "evaluation": found,
            "verification": layers,
            "compensation": None if corrections is None else corrections.to_dict(),
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return {
            "config": asdict(self.config),
            "seconds": self.seconds,
            "figures": self.figures(),
            "code": self.code,
        }

    def plot(self) -> Figure:
        """Where the spiking network departs from the original, layer by layer."""
        return self.outcome.verification.plot()


def shown_steps(num_steps: int) -> list[int]:
    """The T of the table: 1, 2, 4, 8, … and the last."""
    powers = (2**power for power in range(num_steps.bit_length()))
    return sorted({*powers, num_steps})
