"""Weights of every character, and importances to go with them, for tests of quantisers."""

from collections.abc import Callable

import numpy as np

from modelvault_converters.gguf.tensors import Floats

Shape = tuple[int, int]
Make = Callable[[np.random.Generator, Shape], Floats]


def _normal(generator: np.random.Generator, shape: Shape) -> Floats:
    return generator.standard_normal(shape, dtype=np.float32)


def _scaled(scale: float) -> Make:
    return lambda generator, shape: _normal(generator, shape) * np.float32(scale)


def _trained(generator: np.random.Generator, shape: Shape) -> Floats:
    """Look like a trained layer: columns of unequal size, a few outliers, rounded to BF16."""
    columns = np.exp(generator.normal(0, 0.6, shape[1])).astype(np.float32)
    outliers = np.where(generator.random(shape) < 1e-3, np.float32(20), np.float32(1))
    rows = _normal(generator, shape) * columns * outliers * np.float32(0.02)
    bits = rows.view(np.uint32) & np.uint32(0xFFFF0000)
    return bits.view(np.float32)


def _exponents(generator: np.random.Generator, shape: Shape) -> Floats:
    """Spread over half of what a float holds, within each group."""
    return np.ldexp(_normal(generator, shape), generator.integers(-100, 18, shape))


def _row_exponents(generator: np.random.Generator, shape: Shape) -> Floats:
    """Rows from subnormal to a hundred thousand."""
    return np.ldexp(_normal(generator, shape), generator.integers(-145, 16, (shape[0], 1)))


def _one_large(generator: np.random.Generator, shape: Shape) -> Floats:
    rare = generator.random(shape) < 1 / 64
    return np.where(rare, np.float32(100), _normal(generator, shape) * np.float32(1e-3))


def _steps(generator: np.random.Generator, shape: Shape) -> Floats:
    """Multiples of a sixteenth: many exact ties."""
    return generator.integers(-8, 8, shape).astype(np.float32) / np.float32(16)


def _flat_groups(generator: np.random.Generator, shape: Shape) -> Floats:
    return np.repeat(_normal(generator, (shape[0], shape[1] // 32)), 32, axis=1)


def _sparse(generator: np.random.Generator, shape: Shape) -> Floats:
    return _normal(generator, shape) * (generator.random(shape) < 0.05).astype(np.float32)


DISTRIBUTIONS: dict[str, Make] = {
    "normal": _scaled(0.02),
    "trained": _trained,
    "heavy tails": lambda generator, shape: _normal(generator, shape) ** 5,
    "positive": lambda generator, shape: np.abs(_normal(generator, shape)),
    "negative": lambda generator, shape: -np.abs(_normal(generator, shape)),
    "around one": lambda generator, shape: _normal(generator, shape) * np.float32(1e-3) + 1,
    "around minus one": lambda generator, shape: _normal(generator, shape) * np.float32(1e-5) - 1,
    "zero": lambda _generator, shape: np.zeros(shape, dtype=np.float32),
    "minus zero": lambda _generator, shape: -np.zeros(shape, dtype=np.float32),
    "one value a group": _flat_groups,
    "mostly zero": _sparse,
    "ties": _steps,
    "signs": lambda generator, shape: generator.integers(-1, 2, shape).astype(np.float32),
    "one large": _one_large,
    "exponents": _exponents,
    "exponents by row": _row_exponents,
    "at the threshold of zero": _scaled(1e-15),
    "squares vanish": _scaled(1e-22),
    "subnormal": _scaled(1e-39),
    "last bits": _scaled(1e-44),
    "large": _scaled(2e5),
    "beyond what is accepted": _scaled(1e18),
}
"""How float32 weights of a shape are made, by what is special about them."""

IMPORTANCES: dict[str, Callable[[np.random.Generator, int], Floats | None]] = {
    "none": lambda _generator, _columns: None,
    "even": lambda _generator, columns: np.ones(columns, dtype=np.float32),
    "random": lambda generator, columns: generator.random(columns, dtype=np.float32),
    "peaked": lambda generator, columns: generator.random(columns, dtype=np.float32) ** 8 * 1000,
    "mostly zero": lambda generator, columns: (
        generator.random(columns, dtype=np.float32) * (generator.random(columns) < 0.3)
    ).astype(np.float32),
    "zero": lambda _generator, columns: np.zeros(columns, dtype=np.float32),
}
"""How a row of importances is made; None for no importance matrix."""
