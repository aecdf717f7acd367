"""Lines of the log, among the events where ``--verbose`` shows it."""

import datetime as dt
from dataclasses import dataclass
from typing import Literal

from modelvault.cli.documents.document import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEvent(Document):
    """Something that was done or decided."""

    event: Literal["log"] = "log"
    time: dt.datetime
    level: str
    """``DEBUG``, ``INFO``, ``WARNING`` or ``ERROR``."""
    logger: str
    """The part of ModelVault that tells it."""
    message: str
