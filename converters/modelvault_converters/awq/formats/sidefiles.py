"""The small files of a result: ``config.json`` as changed, everything else as it was."""

import json
from pathlib import Path
from typing import Any

from modelvault_converters.awq.formats.writer import write_file
from modelvault_converters.awq.models.model import Model
from modelvault_converters.checkpoint import CONFIGURATION


def write_side_files(model: Model, folder: Path, changes: dict[str, Any]) -> tuple[str, ...]:
    """Write ``config.json`` with ``changes``, and copy the tokenizer's and chat's files.

    What names a model's Python code is left out, as the code is: the architectures converted
    here are known to every server.

    Returns:
        Their names.
    """
    config = {**model.config, **changes}
    config.pop("auto_map", None)
    write_file(folder / CONFIGURATION, json.dumps(config, indent=2).encode())
    names = [CONFIGURATION]
    for file in model.side_files():
        (folder / file.path).parent.mkdir(exist_ok=True)
        write_file(folder / file.path, model.source.read(file.path))
        names.append(file.path)
    return tuple(names)
