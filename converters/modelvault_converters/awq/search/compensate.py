"""Round a weight so that the errors of its columns make up for each other.

Columns are rounded one after the other, those with the largest inputs first; what a column
loses is made up for, as far as its inputs go together with theirs, by the columns that are
still to come. Inputs are looked at in blocks of channels, each by itself: the memory does not
grow with the square of a linear's width, and all blocks are rounded at once.

Source: Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
    Transformers", arXiv 2210.17323 (whose order and damping these are)
"""

import torch

from modelvault_converters.awq.formats.packing import LEVELS, Quantized

_DAMPING = 0.01
"""Share of the mean square of a channel that is added to every channel's: what calibration
never saw together stays independent."""
_CHUNK = 32
"""Columns whose effect on all later columns is applied at once."""


class Compensator:
    """Rounds the weights that see the same inputs."""

    def __init__(self, products: torch.Tensor) -> None:
        """Prepare.

        Args:
            products: Sums of products of the inputs within blocks of channels, f32
                ``[blocks, block, block]``; finite.
        """
        self._products = products
        squares = products.diagonal(dim1=1, dim2=2)
        self._order = squares.sort(dim=1, descending=True, stable=True).indices
        self._upper = torch.stack(
            [_factorize(block, order) for block, order in zip(products, self._order)]
        )

    def error(self, weight: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Return the squared error of the outputs that each block causes, ``[out, blocks]``.

        Args:
            weight: f32 ``[out, in]``.
            other: What stands in for the weight, likewise.
        """
        return product_error(other - weight, self._products)

    def round(self, weight: torch.Tensor, grid: Quantized) -> Quantized:
        """Return a weight rounded to a grid.

        Args:
            weight: f32 ``[out, in]``.
            grid: Whose scales and zero points are used.
        """
        blocks, width = self._order.shape
        taken = self._order.unsqueeze(2).expand(-1, -1, len(weight))
        left = weight.T.reshape(blocks, width, -1).gather(1, taken)
        levels = self._round_columns(left, grid)
        values = torch.empty_like(levels).scatter_(1, taken, levels)
        return Quantized(
            values=values.flatten(0, 1).T.reshape(grid.values.shape),
            scales=grid.scales,
            zeros=grid.zeros,
        )

    def _round_columns(self, left: torch.Tensor, grid: Quantized) -> torch.Tensor:
        """Return the values of ordered columns, uint8 ``[blocks, block, out]``.

        Args:
            left: The columns, likewise f32; used up.
            grid: Whose scales and zero points are used.
        """
        blocks, width = self._order.shape
        scales, zeros = grid.scales.float().T, grid.zeros.float().T
        starts = torch.arange(0, blocks * width, width, device=left.device)
        groups = (self._order + starts.unsqueeze(1)) // grid.values.shape[2]
        levels = torch.empty_like(left, dtype=torch.uint8)
        for start in range(0, width, _CHUNK):
            stop = min(start + _CHUNK, width)
            wrong = torch.empty_like(left[:, start:stop])
            for column in range(start, stop):
                scale, zero = scales[groups[:, column]], zeros[groups[:, column]]
                value = left[:, column]
                level = (value / scale).round_().add_(zero).clamp_(0, LEVELS)
                levels[:, column] = level
                lost = value - level.sub_(zero).mul_(scale)
                lost /= self._upper[:, column, column].unsqueeze(1)
                wrong[:, column - start] = lost
                factors = self._upper[:, column, column + 1 : stop].unsqueeze(2)
                left[:, column + 1 : stop].addcmul_(factors, lost.unsqueeze(1), value=-1)
            later = self._upper[:, start:stop, stop:].transpose(1, 2)
            left[:, stop:] -= torch.bmm(later, wrong)
        return levels


def product_error(wrong: torch.Tensor, products: torch.Tensor) -> torch.Tensor:
    """Return the squared error of the outputs that each block causes, ``[out, blocks]``.

    Args:
        wrong: Error of a weight, f32 ``[out, in]``.
        products: f32 ``[blocks, block, block]``.
    """
    parts = wrong.reshape(len(wrong), len(products), -1).transpose(0, 1)
    return (torch.bmm(parts, products) * parts).sum(-1).T


def _factorize(products: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Return the upper Cholesky factor of the inverse of one block, its channels in order."""
    ordered = products.double()[order][:, order]
    mean = ordered.diagonal().mean()
    ordered.diagonal().add_(torch.where(mean > 0, _DAMPING * mean, 1.0))
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(ordered))
    upper: torch.Tensor = torch.linalg.cholesky(inverse, upper=True)
    return upper.float()
