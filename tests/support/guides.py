"""Code that stands in a guide, run as it is printed."""

import re
from pathlib import Path
from types import ModuleType

GUIDES = Path(__file__).parents[2] / "docs" / "guides"
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def python_blocks(guide: str) -> list[str]:
    """Return the Python blocks of a guide, in order.

    Args:
        guide: Its file's name.
    """
    return _BLOCK.findall((GUIDES / guide).read_text(encoding="utf-8"))


def load_guide(guide: str) -> ModuleType:
    """Return the module that the Python blocks of a guide make, one after the other.

    Args:
        guide: Its file's name.
    """
    module = ModuleType("guide")
    code = compile("\n".join(python_blocks(guide)), str(GUIDES / guide), "exec")
    exec(code, module.__dict__)
    return module
