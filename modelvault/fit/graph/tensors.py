"""A graph of tensors by their sizes alone, and the memory that computing it takes.

A tensor lives from when it is computed until the last that reads it is; a view lives in what it
looks at; what is computed element by element takes the place of what it read, where nobody else
reads that. Weights and caches stand elsewhere and are no part of it.

Example:
    >>> graph = Graph()
    >>> ids = graph.input(2048)
    >>> wide = graph.compute(8192, ids)
    >>> graph.expand(graph.in_place(graph.compute(4096, wide), ids))
    >>> graph.peak()
    14336

Source: how ``ggml_build_forward_expand`` orders nodes and ``ggml-alloc.c`` places them.
"""

from dataclasses import dataclass

from modelvault.fit.graph.arena import Arena, aligned


@dataclass(slots=True, eq=False)
class Tensor:
    """One tensor; what happens to it is the graph's to know."""

    size: int
    """Bytes."""
    reads: tuple["Tensor", ...] = ()
    """What it is computed from."""
    of: "Tensor | None" = None
    """What it is a view of."""
    whole: bool = True
    """Whether a view has the layout of all that it looks at."""
    replaces: bool = False
    """Whether it may take the place of what it reads."""
    children: int = 0
    views: int = 0
    offset: int | None = None
    """Where it stands; None for what is not allocated, or not any more."""
    external: bool = False
    """Whether it stands in memory of its own, such as a cache."""


class Graph:
    """What is computed, in order."""

    def __init__(self) -> None:
        """Begin empty."""
        self._leaves: list[Tensor] = []
        self._nodes: list[Tensor] = []
        self._seen: set[int] = set()
        self._kept: list[Tensor] = []
        """Every tensor, so that none is taken for another that is gone."""

    def input(self, size: int) -> Tensor:
        """Return a tensor that the caller fills; it has its place from the beginning."""
        tensor = Tensor(size)
        self._leaves.append(tensor)
        return self._keep(tensor)

    def external(self) -> Tensor:
        """Return a tensor that stands elsewhere."""
        return self._keep(Tensor(0, external=True))

    def compute(self, size: int, *reads: Tensor) -> Tensor:
        """Return a tensor that needs a place of its own."""
        return self._keep(Tensor(size, reads))

    def in_place(self, *reads: Tensor, size: int | None = None) -> Tensor:
        """Return a tensor of the first one's size that may stand where one of ``reads`` stood."""
        return self._keep(Tensor(reads[0].size if size is None else size, reads, replaces=True))

    def view(self, of: Tensor, *reads: Tensor, size: int | None = None) -> Tensor:
        """Return a look at a tensor.

        Args:
            of: What is looked at.
            reads: What the view is computed from besides.
            size: Bytes of the part that is looked at; None for all of it.
        """
        source = of.of or of
        whole = of.whole and size in (None, of.size)
        looked = of.size if size is None else size
        return self._keep(Tensor(looked, (*reads, of), of=source, whole=whole))

    def expand(self, tensor: Tensor) -> None:
        """Add a tensor and whatever it needs that is not there yet."""
        if id(tensor) in self._seen:
            return
        self._seen.add(id(tensor))
        for read in tensor.reads:
            self.expand(read)
        if tensor.reads:
            self._nodes.append(tensor)

    def peak(self) -> int:
        """Return the bytes that computing the graph takes."""
        arena = Arena()
        for node in self._nodes:
            if node.of is not None:
                node.of.views += 1
            for read in node.reads:
                read.children += 1
        for leaf in self._leaves:
            leaf.offset = arena.take(leaf.size)
        for node in self._nodes:
            _place(arena, node)
            for read in node.reads:
                _release(arena, read)
        return arena.peak

    def _keep(self, tensor: Tensor) -> Tensor:
        self._kept.append(tensor)
        return tensor


def _place(arena: Arena, node: Tensor) -> None:
    if node.of is not None or node.external:
        return
    if node.replaces:
        for read in node.reads:
            owner = read.of or read
            free = read.children == 1 and read.views == 0 and read.whole
            alone = owner is read or (owner.views == 1 and owner.children == 0)
            if free and alone and owner.offset is not None and read.size == node.size:
                node.offset, owner.offset = owner.offset, None
                if aligned(owner.size) > aligned(node.size):
                    extra = aligned(owner.size) - aligned(node.size)
                    arena.give_back(node.offset + aligned(node.size), extra)
                return
    node.offset = arena.take(node.size)


def _release(arena: Arena, tensor: Tensor) -> None:
    """Take note that one reader of a tensor has been computed."""
    tensor.children -= 1
    if tensor.children or tensor.views:
        return
    owner = tensor
    if tensor.of is not None:
        owner = tensor.of
        owner.views -= 1
        if owner.views or owner.children:
            return
    if owner.offset is not None:
        arena.give_back(owner.offset, owner.size)
        owner.offset = None
