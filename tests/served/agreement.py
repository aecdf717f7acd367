"""How far two sets of predictions lie apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tests.served.engine import Served
from tests.served.reference import Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """A server's predictions beside a reference's; all in nats."""

    divergence: float
    """Mean KL divergence of the server's distribution from the reference's."""
    difference: float
    """Mean difference of the log-probabilities of the tokens that really follow."""
    lead: float
    """Largest lead of the reference's first choice where the server's is another."""
    followed: float
    """The same where greedy text first parts from the reference's."""

    def exceeds(self, limit: "Agreement") -> list[str]:
        """Return the names of what lies above ``limit``."""
        return [name for name in self.__slots__ if not getattr(self, name) <= getattr(limit, name)]


def compare(served: Served, reference: Reference, prompts: Sequence[Sequence[int]]) -> Agreement:
    """Return how a server agrees with a reference on what follows ``prompts``."""
    theirs = torch.cat(served.logprobs)
    ours = torch.cat([reference.logprobs(prompt)[:-1] for prompt in prompts])
    following = torch.tensor([token for prompt in prompts for token in prompt[1:]])[:, None]
    assert theirs.shape == ours.shape
    assert bool(torch.isfinite(theirs).all())
    leads = _leads(ours)[theirs.argmax(-1) != ours.argmax(-1)]
    apart = [_part(reference, [*prompt], text) for prompt, text in zip(prompts, served.greedy)]
    return Agreement(
        divergence=float((ours.exp() * (ours - theirs)).sum(-1).mean()),
        difference=float((theirs - ours).gather(1, following).abs().mean()),
        lead=float(leads.max()) if len(leads) else 0.0,
        followed=max(apart),
    )


def _part(reference: Reference, prompt: list[int], text: Sequence[int]) -> float:
    """Return the lead of the reference's choice where ``text`` is first another; else 0."""
    rows = reference.logprobs([*prompt, *text])[len(prompt) - 1 : -1]
    other = (rows.argmax(-1) != torch.tensor(text)).nonzero()
    return float(_leads(rows)[other[0]]) if len(other) else 0.0


def _leads(rows: torch.Tensor) -> torch.Tensor:
    """Return by how much the likeliest token leads the second, ``[length]``."""
    best = rows.topk(2).values
    return best[:, 0] - best[:, 1]
