"""Precision and memory format in which ``bench`` runs networks."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from ..errors import ConfigError
from ._bench_modes import Subject

_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_LAST = " channels-last"
FORMS = [name + layout for name in _TYPES for layout in ("", _LAST)]


def check_forms(forms: tuple[str, ...]) -> None:
    """Raise :class:`ConfigError` unless all forms are known, and there is one."""
    for form in forms or ("",):
        if form not in FORMS:
            raise ConfigError(f"forms must be some of {', '.join(FORMS)}; got {form!r}")


def in_form(subject: Subject, form: str) -> Subject:
    """Copies of a subject's networks in a form."""
    if form == "float32":
        return subject
    dtype, layout = _parts(form)
    twins = (copy.deepcopy(net) for net in (subject.model, subject.ann))
    return Subject(*(twin.to(dtype=dtype, memory_format=layout) for twin in twins))  # type: ignore[call-overload]


def formed(images: Tensor, form: str) -> Tensor:
    """Images ``[B, C, H, W]`` in a form."""
    dtype, layout = _parts(form)
    return images.to(dtype=dtype, memory_format=layout)


def _parts(form: str) -> tuple[torch.dtype, torch.memory_format]:
    layout = torch.channels_last if form.endswith(_LAST) else torch.contiguous_format
    return _TYPES[form.removesuffix(_LAST)], layout
