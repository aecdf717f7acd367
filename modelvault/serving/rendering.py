"""From a template and values to a file's text; the only place that knows Jinja2.

Jinja2 knows how to escape HTML, and none of our formats. So a template names the format with a
filter, ``{{ path | nginx }}``, and whatever it prints has to be ``Quoted`` or a whole number:
a value that was not quoted ends the work instead of landing in a file.
"""

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from modelvault.serving.quoting import FILTERS, Quoted

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).with_name("templates")


def render(template: str, **values: object) -> str:
    """Return the text that a template makes of values.

    Args:
        template: Its file's name in ``templates/``.
        **values: What it prints and asks for.

    Raises:
        BadOption: A value cannot be written in the template's format.
        TypeError: The template prints a value without quoting it: a defect of the template.
    """
    return _environment().get_template(template).render(**values)


@functools.cache
def _environment() -> "Environment":
    # Imported at the first use: loading a command for its help must not pay for it.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - not HTML: see above
    )
    environment.filters.update(FILTERS)
    return environment


def _finalize(value: object) -> object:
    if isinstance(value, Quoted) or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise TypeError(f"a template prints {value!r} without quoting it")
