"""Types of ggml that GGUF files are written in: of tensors, and of mixes of them.

The one table of both; converters and readers use it.

Example:
    >>> GgmlType.Q4_K.row_bytes(4096)
    2304
    >>> find_type(12), find_type(10_000)
    (<GgmlType.Q4_K: (12, 256, 144)>, None)

Source:
    https://github.com/ggml-org/ggml/blob/master/include/ggml.h (``enum ggml_type``)
    https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h (blocks)
    https://github.com/ggml-org/llama.cpp/blob/master/include/llama.h (``enum llama_ftype``)
"""

from collections.abc import Mapping
from enum import Enum


class GgmlType(Enum):
    """A tensor type, by the name that llama.cpp prints: number, weights and bytes a block."""

    F32 = (0, 1, 4)
    F16 = (1, 1, 2)
    Q4_0 = (2, 32, 18)
    Q4_1 = (3, 32, 20)
    Q5_0 = (6, 32, 22)
    Q5_1 = (7, 32, 24)
    Q8_0 = (8, 32, 34)
    Q8_1 = (9, 32, 40)
    Q2_K = (10, 256, 84)
    Q3_K = (11, 256, 110)
    Q4_K = (12, 256, 144)
    Q5_K = (13, 256, 176)
    Q6_K = (14, 256, 210)
    Q8_K = (15, 256, 292)
    IQ2_XXS = (16, 256, 66)
    IQ2_XS = (17, 256, 74)
    IQ3_XXS = (18, 256, 98)
    IQ1_S = (19, 256, 50)
    IQ4_NL = (20, 32, 18)
    IQ3_S = (21, 256, 110)
    IQ2_S = (22, 256, 82)
    IQ4_XS = (23, 256, 136)
    I8 = (24, 1, 1)
    I16 = (25, 1, 2)
    I32 = (26, 1, 4)
    I64 = (27, 1, 8)
    F64 = (28, 1, 8)
    IQ1_M = (29, 256, 56)
    BF16 = (30, 1, 2)
    TQ1_0 = (34, 256, 54)
    TQ2_0 = (35, 256, 66)
    MXFP4 = (39, 32, 17)
    NVFP4 = (40, 64, 36)
    Q1_0 = (41, 128, 18)

    def __init__(self, number: int, weights: int, block_bytes: int) -> None:
        """Name the parts of a row.

        Args:
            number: The type's number in a file.
            weights: Weights in one block; a row holds whole blocks.
            block_bytes: Bytes of one block.
        """
        self.number = number
        self.weights = weights
        self.block_bytes = block_bytes

    @property
    def is_quantized(self) -> bool:
        """Whether a block shares a scale between its weights."""
        return self.weights > 1

    def row_bytes(self, columns: int) -> int:
        """Return the bytes of a row of ``columns`` weights, a multiple of ``weights``."""
        return columns // self.weights * self.block_bytes


_BY_NUMBER: Mapping[int, GgmlType] = {type_.number: type_ for type_ in GgmlType}


def find_type(number: int) -> GgmlType | None:
    """Return the tensor type of a number in a file; None for one that is not known."""
    return _BY_NUMBER.get(number)


def type_name(number: int) -> str:
    """Return a tensor type's name; ``type N`` for one that is not known."""
    found = _BY_NUMBER.get(number)
    return found.name if found else f"type {number}"


FILE_TYPES: Mapping[int, str] = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4_MOE",
    39: "NVFP4",
    40: "Q1_0",
}
"""``general.file_type`` → the mix's name, as llama.cpp counts them."""

FILE_TYPE_NUMBERS: Mapping[str, int] = {name: number for number, name in FILE_TYPES.items()}
"""The mix's name → ``general.file_type``."""
