"""ModelVault carries open-weight models across an air gap: its interface for programs.

The names below are the whole of it; ``docs/guides/python.md`` shows them at work. They stand in
``modelvault.api`` and are loaded when first asked for: importing the package costs what its
version costs.

Example:
    >>> import modelvault
    >>> with modelvault.Vault.open("vault", create=True) as vault:
    ...     plan = modelvault.plan_pull(vault, "Qwen/Qwen3-0.6B")
    ...     done = modelvault.pull(vault, plan)
"""

from modelvault.version import __version__

TYPE_CHECKING = False  # as type checkers know it by name; importing typing would cost more
if TYPE_CHECKING:
    from modelvault import errors
    from modelvault.api import (
        Vault,
        convert,
        export,
        import_bundle,
        install,
        list_artifacts,
        plan_pull,
        pull,
    )
    from modelvault.errors import ModelVaultError

__all__ = [
    "ModelVaultError",
    "Vault",
    "__version__",
    "convert",
    "errors",
    "export",
    "import_bundle",
    "install",
    "list_artifacts",
    "plan_pull",
    "pull",
]

if not TYPE_CHECKING:  # type checkers would take every name for one of these

    def __getattr__(name: str) -> object:
        """Return a name of the interface, loaded now.

        Raises:
            AttributeError: It is none.
        """
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        if name == "errors":  # the rooms import it like this while the interface is loading
            return import_module("modelvault.errors")
        return getattr(import_module("modelvault.api"), name)


def __dir__() -> list[str]:
    """Return the names of the interface beside those that are loaded."""
    return sorted({*globals(), *__all__})
