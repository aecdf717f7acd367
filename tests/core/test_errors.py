"""The error tree is documented, and its exit codes are the contract's."""

import inspect
from pathlib import Path

from modelvault import errors

CATALOGUE = Path(__file__).parents[2] / "docs" / "errors.md"
CONTRACT = {
    "BadInput": 2,
    "NotFound": 3,
    "Corruption": 4,
    "TrustError": 5,
    "FetchError": 6,
    "ConversionError": 7,
    "TargetError": 8,
    "StorageError": 9,
    "Interrupted": 130,
}


def test_each_group_has_the_exit_code_of_the_contract() -> None:
    """Scripts rely on the numbers; a subclass never changes its group's."""
    groups = {group.__name__: group for group in errors.ModelVaultError.__subclasses__()}
    assert {name: group.exit_code for name, group in groups.items()} == CONTRACT
    for group in groups.values():
        assert all("exit_code" not in vars(kind) for kind in group.__subclasses__())


def test_every_error_is_in_the_catalogue() -> None:
    """An operator finds each class in docs/errors.md, with what to do."""
    text = CATALOGUE.read_text()
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    leaves = [
        kind
        for kind in kinds
        if issubclass(kind, errors.ModelVaultError) and kind.__module__ == errors.__name__
    ]
    missing = [kind.__name__ for kind in leaves if f"`{kind.__name__}`" not in text]
    missing = [name for name in missing if f": {name}\n" not in text]
    assert missing in ([], ["ModelVaultError"])
