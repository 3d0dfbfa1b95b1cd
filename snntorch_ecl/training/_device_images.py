"""Training images that stay on the device, and are varied there in large batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .._util.checks import check_seed, check_whole_numbers
from ..errors import ConfigError, DataError
from ._augment import OPERATIONS, affine, recolour, sent

# Images varied at once: many, as each operation costs a launch; few enough for some 100 MB each.
_AT_ONCE = 4096


class DeviceImages:
    """Small images on the device as bytes, with random crops, flips, TrivialAugment and Cutout.

    A data loader varies one image at a time, in worker processes; here a few operations vary
    thousands at once. What an image becomes depends on seed, epoch and index alone: random
    numbers are drawn on the CPU, so they are equal on all devices. Crop, flip and the geometric
    operations of TrivialAugment are one resampling (nearest pixel, black outside).

    Args:
        images: ``[N, 3, H, H]``, uint8.
        labels: ``[N]``, class numbers.
        mean: Mean of each channel of values in [0, 1], for normalisation.
        std: Standard deviation of each channel.
        crop_padding: Shift at random by up to this many pixels; 0 for none.
        flip: Flip half of the images.
        trivial_augment: One random operation for each image, of random strength.
        cutout: Side of the square that is blanked in each image; 0 for none.
        seed: Seed of the order and of the random changes.
        device: Where the images are kept.

    Raises:
        ConfigError: A setting is outside its range.
        DataError: Images or labels have another type or shape.

    Source: DeVries and Taylor, "Improved Regularization of CNNs with Cutout", 2017, arXiv
    1708.04552; the square may reach beyond the border. TrivialAugment: arXiv 2103.10158.

    Example:
        >>> pixels = torch.randint(256, (8, 3, 32, 32), dtype=torch.uint8)
        >>> data = DeviceImages(pixels, torch.arange(8), cutout=8)
        >>> images, labels = next(data.epoch(0, batch_size=4))
        >>> images.shape, len(labels)
        (torch.Size([4, 3, 32, 32]), 4)
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        mean: Sequence[float] = (0.4914, 0.4822, 0.4465),
        std: Sequence[float] = (0.2470, 0.2435, 0.2616),
        crop_padding: int = 4,
        flip: bool = True,
        trivial_augment: bool = False,
        cutout: int = 0,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        square = images.ndim == 4 and images.shape[1] == 3 and images.shape[2] == images.shape[3]
        if images.dtype != torch.uint8 or not square or not len(images):
            raise DataError(
                "images must be uint8 of shape [N, 3, H, H]; got "
                f"{images.dtype} of shape {list(images.shape)}"
            )
        if labels.shape != images.shape[:1] or labels.is_floating_point():
            raise DataError(
                f"labels must be class numbers of shape [{len(images)}]; got {labels.dtype} of "
                f"shape {list(labels.shape)}"
            )
        self.size = images.shape[2]
        check_whole_numbers("crop_padding, cutout", (crop_padding, cutout), lowest=0)
        check_seed("seed", seed)
        if cutout >= self.size:
            raise ConfigError(f"cutout must be less than {self.size}, the images' side; {cutout=}")
        if len(mean) != 3 or len(std) != 3 or not min(std) > 0:
            raise ConfigError(f"mean and std need 3 numbers each, std > 0; got {mean} and {std}")
        # Channels last, as they are read and handed out.
        self._pixels = images.permute(0, 2, 3, 1).contiguous().to(device)
        self.labels = labels.long().to(device)
        self._mean, self._std = (
            torch.tensor(value, device=device).view(1, 3, 1, 1) * 255 for value in (mean, std)
        )
        self.crop_padding, self.flip, self.cutout = crop_padding, flip, cutout
        self.trivial_augment, self.seed = trivial_augment, seed

    def __len__(self) -> int:
        return len(self.labels)

    def plain(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All images in their order, normalised but not varied.

        Args:
            batch_size: Images in a batch; the last one may have fewer.

        Yields:
            Images ``[B, 3, H, H]``, float32, and labels ``[B]``.
        """
        for start in range(0, len(self), batch_size):
            rows = slice(start, start + batch_size)
            pixels = self._pixels[rows].permute(0, 3, 1, 2).float()
            yield self._normalised(pixels).contiguous(), self.labels[rows]

    def epoch(self, number: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All images once, in random order and varied; an incomplete last batch is left out.

        Args:
            number: The epoch; with the seed it decides the order and the random changes.
            batch_size: Images in a batch.

        Yields:
            Images ``[B, 3, H, H]``, float32, channels last in memory, and labels ``[B]``.

        Raises:
            DataError: There are fewer images than one batch.
        """
        if batch_size > len(self):
            raise DataError(f"there are {len(self)} images, fewer than {batch_size=}")
        # Hashed into 32 bits: torch's CPU generator ignores the upper half of a longer seed.
        seed = hash((self.seed, number)) & 0xFFFF_FFFF
        generator = torch.Generator().manual_seed(seed)
        whole = len(self) // batch_size * batch_size
        order = torch.randperm(len(self), generator=generator)[:whole]
        order = sent(order, self.labels.device)
        draws = torch.rand(whole, 7, generator=generator)
        at_once = max(1, _AT_ONCE // batch_size) * batch_size
        for start in range(0, whole, at_once):
            rows = order[start : start + at_once]
            images = self._varied(rows, draws[start : start + at_once])
            yield from zip(
                torch.split(images, batch_size),
                torch.split(self.labels[rows], batch_size),
                strict=True,
            )

    def _varied(self, rows: Tensor, draws: Tensor) -> Tensor:
        """Some images, each varied by its own 7 numbers from [0, 1), which lie on the CPU."""
        operation = (draws[:, 0] * len(OPERATIONS)).long() * self.trivial_augment
        draws = sent(draws, rows.device)
        kind, down, right, mirror, strength, cut_y, cut_x = draws.unbind(1)
        kind = (kind * len(OPERATIONS)).long() * self.trivial_augment
        strength = 2 * strength - 1
        choices = 2 * self.crop_padding + 1
        offsets = [(draw * choices).floor() - self.crop_padding for draw in (down, right)]
        mirrored = (mirror < 0.5) & self.flip
        matrix = affine(kind, strength, self.size)
        images = self._resampled(rows, matrix, offsets, mirrored)
        if self.trivial_augment:
            images = recolour(images, operation, strength)
        images = self._normalised(images).contiguous(memory_format=torch.channels_last)
        return self._cut(images, cut_y, cut_x)

    def _resampled(
        self, rows: Tensor, matrix: Tensor, offsets: list[Tensor], mirrored: Tensor
    ) -> Tensor:
        """Crop, flip and move: each pixel of ``[B, 3, H, H]`` is read where it comes from."""
        centre = (self.size - 1) / 2
        axis = torch.arange(self.size, device=rows.device) - centre
        y, x = axis.view(1, -1, 1), axis.view(1, 1, -1)
        from_y, from_x = (
            part[:, 0].view(-1, 1, 1) * y
            + part[:, 1].view(-1, 1, 1) * x
            + part[:, 2].view(-1, 1, 1)
            for part in matrix.unbind(1)
        )
        from_x = torch.where(mirrored.view(-1, 1, 1), -from_x, from_x)
        from_y, from_x = (
            (part + centre + offset.view(-1, 1, 1)).round().long()
            for part, offset in zip((from_y, from_x), offsets, strict=True)
        )
        last = self.size - 1
        outside = (from_y < 0) | (from_y > last) | (from_x < 0) | (from_x > last)
        found = self._pixels[rows.view(-1, 1, 1), from_y.clamp(0, last), from_x.clamp(0, last)]
        return found.masked_fill(outside.unsqueeze(3), 0).permute(0, 3, 1, 2).float()

    def _normalised(self, images: Tensor) -> Tensor:
        return (images - self._mean) / self._std

    def _cut(self, images: Tensor, cut_y: Tensor, cut_x: Tensor) -> Tensor:
        """Blank a square with its centre anywhere in each image."""
        if not self.cutout:
            return images
        axis = torch.arange(self.size, device=images.device).view(1, -1)
        starts = [
            (draw * self.size).floor().view(-1, 1) - self.cutout // 2 for draw in (cut_y, cut_x)
        ]
        in_y, in_x = ((axis >= start) & (axis < start + self.cutout) for start in starts)
        return images.masked_fill_((in_y.unsqueeze(2) & in_x.unsqueeze(1)).unsqueeze(1), 0)
