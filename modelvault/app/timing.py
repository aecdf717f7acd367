"""How long a verb took, told to the log.

Example:
    >>> @timed(logging.getLogger("example"), "pull")
    ... def pull() -> None: ...
"""

import contextlib
import logging
import time
from collections.abc import Iterator


@contextlib.contextmanager
def timed(logger: logging.Logger, what: str) -> Iterator[None]:
    """Log that the block, or a call of the decorated function, begins, and how it ends.

    Args:
        logger: Of the module that the work is in.
        what: Name of the work.
    """
    logger.info("%s begins", what)
    began = time.monotonic()
    try:
        yield
    except BaseException as error:
        seconds = time.monotonic() - began
        logger.info("%s fails after %.3f s: %s", what, seconds, type(error).__name__)
        raise
    logger.info("%s is done after %.3f s", what, time.monotonic() - began)
