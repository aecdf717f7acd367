"""The filters of a pull, as the event log remembers them, so that an update can repeat them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from modelvault.app.vault import Vault
from modelvault.core.artifact import Artifact
from modelvault.errors import BadOption, CatalogDamaged

PART = "part"
"""Detail of a pull's event that asked for a part of an artefact only."""

_LONGEST = 3000
"""Characters of patterns that one event can hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What ``--include`` and ``--exclude`` say."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse more than the event log can remember for ``--update``."""
        if any(len(json.dumps(items)) > _LONGEST for items in self._lists):
            raise BadOption(
                f"the patterns are longer than {_LONGEST} characters together",
                hint="name folders, or use wider patterns",
            )

    @property
    def _lists(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return self.include, self.exclude

    def details(self) -> dict[str, str]:
        """Return them as details of an event, those that are there."""
        both = {"include": self.include, "exclude": self.exclude}
        return {name: json.dumps(list(items)) for name, items in both.items() if items}

    @classmethod
    def parse(cls, details: Mapping[str, str]) -> "Filters":
        """Return what ``details`` wrote.

        Raises:
            ValueError: It did not write this.
        """
        both = {name: json.loads(details.get(name, "[]")) for name in ("include", "exclude")}
        for items in both.values():
            if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
                raise ValueError("not a list of patterns")
        return cls(include=tuple(both["include"]), exclude=tuple(both["exclude"]))


def last_pull(vault: Vault, artifact: Artifact) -> Mapping[str, str]:
    """Return the details of the pull that last brought an artefact; empty where none is logged."""
    found: Mapping[str, str] = {}
    for event in vault.catalog.history(artifact.label):
        its_own = event.details.get("artifact") == str(artifact.digest)
        if event.verb == "pull" and its_own and PART not in event.details:
            found = event.details
    return found


def recall_filters(vault: Vault, artifact: Artifact) -> Filters:
    """Return the filters that an artefact was last pulled with; none where no pull is logged.

    Raises:
        CatalogDamaged: The log holds what no pull writes.
    """
    try:
        return Filters.parse(last_pull(vault, artifact))
    except (ValueError, RecursionError) as error:
        raise CatalogDamaged(f"the log of {artifact.reference} holds unreadable filters") from error
