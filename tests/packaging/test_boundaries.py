"""Each contract between the rooms refuses what it forbids: proven by planting it.

The graph of imports is built once from the real code. A test adds one import, or one room, to a
copy of it, and asks import-linter for its verdict by the contract in ``pyproject.toml``. So a
contract that has lost a room, or was written in a way that refuses nothing, fails here.
"""

import itertools
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import grimp
import pytest
from importlinter import api
from importlinter.contracts.acyclic_siblings import AcyclicSiblingsContract
from importlinter.contracts.forbidden import ForbiddenContract
from importlinter.contracts.independence import IndependenceContract
from importlinter.contracts.layers import LayersContract
from importlinter.domain.contract import Contract

CHECKOUT = Path(__file__).parents[2]
CONFIGURATION = api.read_configuration(str(CHECKOUT / "pyproject.toml"))
SESSION: dict[str, Any] = CONFIGURATION["session_options"]
CONTRACTS: list[dict[str, Any]] = CONFIGURATION["contracts_options"]
ROOTS: list[str] = SESSION["root_packages"]
KINDS: dict[str, type[Contract]] = {
    "acyclic_siblings": AcyclicSiblingsContract,
    "forbidden": ForbiddenContract,
    "independence": IndependenceContract,
    "layers": LayersContract,
}
VAULT, CONVERTERS, NEW = "modelvault", "modelvault_converters", "modelvault.newroom"
FOR_CONVERTERS = {"modelvault.core", "modelvault.errors"}

Edge = tuple[str, str]


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """The imports of all that is shipped, as they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(CHECKOUT), *sys.path])  # migrations lie beside the vault
        return grimp.build_graph(*ROOTS, include_external_packages=True, cache_dir=None)


def keeps(options: dict[str, Any], graph: grimp.ImportGraph, *planted: Edge) -> bool:
    """Whether the contract is kept once ``planted`` imports have been added."""
    changed = deepcopy(graph)
    for importer, imported in planted:
        for name in (importer, imported):
            if name not in changed.modules:
                changed.add_module(name, is_squashed=name.partition(".")[0] not in ROOTS)
        changed.add_import(importer=importer, imported=imported)
    contract = KINDS[options["type"]](
        name=options["name"], session_options=SESSION, contract_options=options
    )
    return bool(contract.check(changed, verbose=False).kept)


def forbidden_edges(options: dict[str, Any]) -> Iterator[Edge]:
    """One import for every pair that a contract keeps apart."""
    match options["type"]:
        case "forbidden":
            yield from itertools.product(options["source_modules"], options["forbidden_modules"])
        case "independence":
            yield from itertools.permutations(options["modules"], 2)
        case "layers":
            for container in options.get("containers", [""]):
                prefix = f"{container}." if container else ""
                rows = [
                    [prefix + name.strip(" ()") for name in layer.replace(":", "|").split("|")]
                    for layer in options["layers"]
                ]
                for upper, lower in itertools.combinations(rows, 2):
                    yield from itertools.product(lower, upper)
                for layer, row in zip(options["layers"], rows, strict=True):
                    if ":" not in layer:
                        yield from itertools.permutations(row, 2)


@pytest.mark.parametrize("options", CONTRACTS, ids=lambda options: options["name"])
def test_each_forbidden_import_breaks_its_contract(
    options: dict[str, Any], graph: grimp.ImportGraph
) -> None:
    """Kept as the code stands, broken by each import that it is there to forbid."""
    assert keeps(options, graph)
    if options["type"] == "acyclic_siblings":
        for ancestor in options["ancestors"]:
            first, second, *_ = sorted(graph.find_children(ancestor))
            assert not keeps(options, graph, (first, second), (second, first))
        return
    edges = [edge for edge in forbidden_edges(options) if "*" not in "".join(edge)]
    assert edges
    allowed = {tuple(line.split(" -> ")) for line in options.get("ignore_imports", [])}
    passed = [e for e in edges if e not in allowed and keeps(options, graph, e)]
    assert passed == []


def test_every_room_of_the_vault_is_closed_to_converters(graph: grimp.ImportGraph) -> None:
    """All but the core and the errors, as the rooms stand today; and one that is new."""
    (options,) = (c for c in CONTRACTS if c.get("source_modules") == [CONVERTERS])
    importer = "modelvault_converters.gguf.convert"
    rooms = sorted(graph.find_children(VAULT) - FOR_CONVERTERS)
    assert len(rooms) > 9
    passed = [room for room in [*rooms, NEW] if keeps(options, graph, (importer, room))]
    assert passed == []
    for room in ("modelvault.core.protocol", "modelvault.errors"):
        assert keeps(options, graph, (importer, room))


def test_no_room_imports_the_package_itself(graph: grimp.ImportGraph) -> None:
    """It points at the interface for programs: a way around the layers, were it open."""
    (options,) = (c for c in CONTRACTS if c.get("containers") == [VAULT])
    assert "modelvault.api" in graph.find_modules_directly_imported_by(VAULT)
    rooms = sorted(graph.find_children(VAULT) - {"modelvault.__main__", "modelvault.api"})
    assert [room for room in rooms if keeps(options, graph, (room, VAULT))] == []


def test_room_without_a_layer_is_refused(graph: grimp.ImportGraph) -> None:
    """A new room is given its layer before anything may be imported, by it or from it."""
    (options,) = (c for c in CONTRACTS if c.get("containers") == [VAULT])
    assert not keeps(options, graph, (NEW, "modelvault.errors"))
