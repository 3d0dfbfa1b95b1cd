"""Training: against a loop written by hand, and what it owes to its caller."""

import contextlib
import copy
import logging
import math
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from snntorch_ecl.errors import StateError
from snntorch_ecl.settings import TrainConfig
from snntorch_ecl.training import fit
from snntorch_ecl.training._lightning import Classifier
from snntorch_ecl.training._thresholds import parameter_groups
from tests.helpers.fits import (
    BATCH,
    DATA,
    EPOCHS,
    SAMPLES,
    config,
    net,
    problem,
    same,
    trained,
    weights,
)
from tests.helpers.parts import clips_of


def loss_of(model: nn.Module) -> float:
    images, labels = problem()
    with torch.no_grad():
        return float(nn.functional.cross_entropy(model(images), labels))


# ---------------------------------------------------------------------------------- by hand


def by_hand(model: nn.Module, settings: TrainConfig) -> nn.Module:
    """The same recipe from autograd's gradients and plain arithmetic."""
    images, labels = problem()

    def batches(epoch: int) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(settings.seed + epoch)
        order = torch.randperm(SAMPLES, generator=generator)
        return (order[start : start + BATCH] for start in range(0, SAMPLES - BATCH + 1, BATCH))

    model(images[next(batches(0))])  # starts the thresholds
    velocity = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    steps, step = settings.epochs * (SAMPLES // BATCH), 0
    for epoch in range(settings.epochs):
        for batch in batches(epoch):
            scores = model(images[batch]).log_softmax(1)
            share = settings.label_smoothing / 3
            target = torch.full_like(scores, share)
            target[torch.arange(BATCH), labels[batch]] += 1 - settings.label_smoothing
            loss = -(target * scores).sum(1).mean()
            named = dict(model.named_parameters())
            gradients = torch.autograd.grad(loss, list(named.values()))
            norm = math.sqrt(sum(float(g.square().sum()) for g in gradients))
            bound = settings.gradient_clip or math.inf
            rate = settings.lr * (1 + math.cos(math.pi * step / steps)) / 2
            for (name, parameter), gradient in zip(named.items(), gradients, strict=True):
                threshold = name.endswith("raw_threshold")
                decay = settings.threshold_decay if threshold else settings.weight_decay
                pull = gradient * min(1.0, bound / norm) + decay * parameter.detach()
                velocity[name] = settings.momentum * velocity[name] + pull
                parameter.data -= rate * velocity[name]
            step += 1
    return model


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"seed": 3, "momentum": 0.5, "lr": 0.3},
        {"label_smoothing": 0.2},
        {"weight_decay": 0.1, "threshold_decay": 0.0},
        {"weight_decay": 0.0, "threshold_decay": 0.5},
        {"gradient_clip": 0.3},
    ],
    ids=lambda changes: ", ".join(changes) or "default",
)
def test_it_trains_like_a_loop_written_by_hand(changes: dict[str, Any]) -> None:
    found, expected = trained(**changes), by_hand(net(), config(**changes))
    for name, value in weights(expected).items():
        torch.testing.assert_close(found.get_parameter(name).detach(), value, msg=name)


# ------------------------------------------------------------------------------- what it does


@pytest.mark.parametrize("per_channel", [False, True])
def test_it_learns_a_separable_problem(per_channel: bool) -> None:
    model = net(per_channel=per_channel)
    before = loss_of(copy.deepcopy(model).eval())
    assert loss_of(trained(model, epochs=15)) < 0.25 * before


@pytest.mark.parametrize("per_channel", [False, True])
def test_every_threshold_is_set_from_the_first_batch_and_then_trained(per_channel: bool) -> None:
    model = net(per_channel=per_channel)
    started = copy.deepcopy(model)
    order = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(0))
    started(problem()[0][order[:BATCH]])
    trained(model)
    assert all(clip.is_set for clip in clips_of(model).values())
    for name, clip in clips_of(model).items():
        assert clip.threshold.shape == started.get_submodule(name).threshold.shape
        assert not torch.equal(clip.threshold, started.get_submodule(name).threshold)


def test_the_same_seed_gives_the_same_weights_bit_for_bit() -> None:
    assert same(trained(), trained())


def test_another_seed_gives_other_weights() -> None:
    assert not same(trained(seed=0), trained(seed=1))


def test_dropout_depends_on_the_seed_alone() -> None:
    models = []
    for own_seed, dropout in ((1, 0.5), (2, 0.5), (1, 0.0)):
        model = net(dropout=dropout)
        for clip in clips_of(model).values():
            clip.threshold = 1.0
        torch.manual_seed(own_seed)
        models.append(trained(model))
    assert same(models[0], models[1])
    assert not same(models[0], models[2])


def test_measuring_accuracy_changes_no_weight() -> None:
    images, labels = problem()
    options: dict[str, Any] = {"accelerator": "cpu", "progress": False, "classes": 3}
    watched = fit(net(), DATA, config(), validation=TensorDataset(-images, labels), **options)
    assert same(watched, trained())


def test_the_model_itself_is_returned_in_eval_mode_on_the_cpu() -> None:
    model = net()
    assert trained(model) is model
    assert not any(module.training for module in model.modules())
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}


def test_nothing_is_written_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trained()
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step() -> None:
    with pytest.raises(StateError, match=r"the loss became nan at step 1 \(epoch 0\)") as caught:
        trained(lr=1e30)
    assert "lower the learning rate (lr=1e+30)" in str(caught.value)


def test_the_step_is_counted_over_epochs() -> None:
    images, labels = problem()

    class Spoilt(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
        """Infinite after five batches: one to start the thresholds, three of epoch 0, one more."""

        served = 0

        def __len__(self) -> int:
            return SAMPLES

        def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
            self.served += 1
            return images[index] * (math.inf if self.served > 5 * BATCH else 1), labels[index]

    with pytest.raises(StateError, match=r"at step 4 \(epoch 1\)"):
        fit(net(), Spoilt(), config(), accelerator="cpu", progress=False)


def test_on_an_accelerator_no_step_reads_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Classifier(nn.Linear(4, 3).to("meta"), config(), 3)
    monkeypatch.setattr(module, "log", lambda *args, **options: None)  # it needs a Trainer
    batch = (
        torch.empty(BATCH, 4, device="meta"),
        torch.empty(BATCH, dtype=torch.long, device="meta"),
    )
    # Whoever reads a value of the meta device, which has none, gets an error.
    losses = [module.training_step(batch, index) for index in range(1, 4)]
    assert len(losses) == 3
    with pytest.raises(NotImplementedError, match="meta"):  # but no checkpoint goes unchecked
        module.on_save_checkpoint({})


@pytest.fixture
def _as_set_by_the_caller() -> Iterator[None]:
    """Lightning's loggers at levels of the caller's choice, one warning filter and no other."""
    trained()  # Lightning sets its own when it is imported
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.resetwarnings()
        warnings.simplefilter("ignore")
        for logger, level in zip(loggers, (logging.DEBUG, logging.CRITICAL), strict=True):
            logger.setLevel(level)
        yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.mark.usefixtures("_as_set_by_the_caller")
@pytest.mark.parametrize("lr", [0.1, 1e30], ids=["good run", "failed run"])
def test_loggers_and_warning_filters_are_as_before(lr: float) -> None:
    filters = list(warnings.filters)
    assert len(filters) == 1
    with contextlib.suppress(StateError):
        trained(lr=lr)
    assert logging.getLogger("lightning.pytorch").level == logging.DEBUG
    assert logging.getLogger("lightning.fabric").level == logging.CRITICAL
    assert list(warnings.filters) == filters


def test_it_is_quiet(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    trained()
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


# ------------------------------------------------------------------------- parameter_groups


def test_each_parameter_is_in_one_group_with_its_own_decay() -> None:
    model = nn.Sequential(net(), nn.BatchNorm1d(3))
    groups = parameter_groups(model, TrainConfig(weight_decay=0.25, threshold_decay=0.125))
    assert [group["weight_decay"] for group in groups] == [0.25, 0.125]
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = [[names[id(parameter)] for parameter in group["params"]] for group in groups]
    assert Counter(found[0] + found[1]) == Counter(names.values())
    assert found[1] == [name for name in names.values() if name.endswith("raw_threshold")]
    assert len(found[1]) == 2


def test_norms_that_were_synchronised_are_the_models_own_again() -> None:
    """As Lightning does where several GPUs train: it exchanges them, and does not put them back."""
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    norm = model[1]
    whole = Trainer.fit

    def synchronised(self: Trainer, module: Any, *arguments: Any, **options: Any) -> None:
        layers = TorchSyncBatchNorm()
        module.model = layers.apply(module.model)
        module.model[1].process_group = None
        module.model = layers.revert(module.model)
        whole(self, module, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "fit", synchronised)
        fit(model, DATA, config(), accelerator="cpu", progress=False)
    assert model[1] is norm
    assert int(norm.num_batches_tracked) == EPOCHS * (SAMPLES // BATCH)
    alone = fit(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)), DATA, config(), progress=False)
    assert type(alone[1]) is type(norm)
