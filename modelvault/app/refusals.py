"""Refusals in the event log: who tried what, and why it was not done.

An auditor asks for them as much as for what was done: a bundle by a stranger, a key whose
fingerprint was another, bytes that were not what was signed.
"""

import functools
import logging
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from modelvault.app.vault import Vault
from modelvault.catalog.values import Event
from modelvault.errors import (
    CatalogDamaged,
    Corruption,
    ModelVaultError,
    TrustError,
    UpstreamChanged,
)

_log = logging.getLogger(__name__)

_P = ParamSpec("_P")
_T = TypeVar("_T")

_REFUSALS = (TrustError, Corruption, UpstreamChanged)
_MOST_ISSUES = 20


def logs_refusals(
    verb: str, about: Callable[..., str]
) -> Callable[[Callable[Concatenate[Vault, _P], _T]], Callable[Concatenate[Vault, _P], _T]]:
    """Return a decorator of a verb: what it refuses goes into the event log, too.

    The event is ``VERB refused``; its details are the error's class, message and issues. Where
    the log cannot be written, the error goes its way all the same.

    Args:
        verb: What was tried.
        about: Returns what it was tried on, from the verb's other arguments.
    """

    def decorate(
        work: Callable[Concatenate[Vault, _P], _T],
    ) -> Callable[Concatenate[Vault, _P], _T]:
        @functools.wraps(work)
        def watched(vault: Vault, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
            try:
                return work(vault, *args, **kwargs)
            except _REFUSALS as error:
                _record(vault, verb, about(*args, **kwargs), error)
                raise

        return watched

    return decorate


def _record(vault: Vault, verb: str, subject: str, error: ModelVaultError) -> None:
    if isinstance(error, CatalogDamaged):
        return  # nothing is written into a catalogue that is damaged, or another vault's
    details = {"error": type(error).__name__, "message": error.message}
    if error.issues:
        details["issues"] = "; ".join(error.issues[:_MOST_ISSUES])
    try:
        vault.catalog.record(Event(verb=f"{verb} refused", subject=subject, details=details))
    except ModelVaultError as unwritten:
        _log.warning("the refusal could not be logged: %s", unwritten)
