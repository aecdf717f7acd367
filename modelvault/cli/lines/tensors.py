"""How tensors are listed, planned or found."""

from modelvault.cli.lines.table import Column

TENSOR_COLUMNS = (
    Column("tensor", least=12),
    Column("type"),
    Column("shape", spare=1),
    Column("offset", right=True, spare=3),
    Column("bytes", right=True),
)
FILE_COLUMN = Column("file", least=12, spare=2)
"""In which file a tensor is, where there are several."""
