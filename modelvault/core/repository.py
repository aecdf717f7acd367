"""What kind of repository a name stands for.

The Hub has models and datasets in name spaces of their own; a vault has one. A dataset is
therefore recorded under ``datasets.ORG/NAME``: no organisation of the Hub has a dot in its
name, so that it can never be taken for a model, and it is an ordinary name everywhere else.

Example:
    >>> str(dataset_name(ModelName.parse("acme/quiz")))
    'datasets.acme/quiz'
    >>> repository_of(ModelName.parse("datasets.acme/quiz")).path
    'datasets/acme/quiz'
"""

from dataclasses import dataclass

from modelvault.core.names import ModelName

_DATASETS = "datasets."


@dataclass(frozen=True, slots=True, kw_only=True)
class HubRepository:
    """A repository as the Hub addresses it."""

    kind: str
    """``model`` or ``dataset``."""
    id: str
    """``ORG/NAME``."""

    @property
    def path(self) -> str:
        """Where its page and files stand below the endpoint."""
        return f"datasets/{self.id}" if self.kind == "dataset" else self.id

    @property
    def api_path(self) -> str:
        """Where its description stands below the endpoint."""
        return f"/api/{self.kind}s/{self.id}"


def dataset_name(name: ModelName) -> ModelName:
    """Return the name that a dataset of the Hub has in a vault."""
    if is_dataset(name):
        return name
    return ModelName(org=f"{_DATASETS}{name.org}", name=name.name)


def is_dataset(name: ModelName) -> bool:
    """Return whether a name in a vault stands for a dataset."""
    return name.org.startswith(_DATASETS)


def repository_of(name: ModelName) -> HubRepository:
    """Return the repository that a name in a vault stands for."""
    if is_dataset(name):
        return HubRepository(kind="dataset", id=f"{name.org.removeprefix(_DATASETS)}/{name.name}")
    return HubRepository(kind="model", id=str(name))
