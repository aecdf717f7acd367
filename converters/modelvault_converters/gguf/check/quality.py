"""Check finished files: they load, they speak, and how far they are from their source."""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from modelvault.core.gguf import read_header
from modelvault.core.protocol import Request
from modelvault.errors import BadOption
from modelvault_converters.gguf.check.measure import MOST_TOKENS, Distance, compare, record
from modelvault_converters.gguf.check.runtime import PACKAGE, Model, open_library, runtime_version
from modelvault_converters.gguf.check.text import TEXT
from modelvault_converters.gguf.plan import Plan, PlannedTarget
from modelvault_converters.options import read_max_kl

OPTIONS = ("check", "check_text", "max_kl")

LARGEST_TEXT = 16 * 1024 * 1024
"""Largest text file that is read, in bytes; its beginning is what counts."""

FEWEST_TOKENS = 32
_PROMPT, _ANSWER = 12, 16
"""Tokens of the text that are gone on from, and how many follow."""

_SHOWN = 120
_FULL = ("F32", "BF16", "F16")
"""Types that serve as a reference, the best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What to check with."""

    text: str
    digest: str
    """Of the text; empty for the built-in one."""
    most: float | None
    """Largest acceptable mean divergence, in nats; None for any."""


def read_check(options: Mapping[str, str]) -> Check | None:
    """Return the check that a request's options ask for, if they do.

    Raises:
        BadOption: The text is no text, or the limit no number.
        OSError: The text cannot be read.
    """
    if not any(options.get(name) for name in OPTIONS):
        return None
    text, digest = TEXT, ""
    if location := options.get("check_text", ""):
        with open(location, "rb") as file:
            data = file.read(LARGEST_TEXT + 1)
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadOption("--check-text: not a text in UTF-8") from error
        if len(data) > LARGEST_TEXT or "\0" in text:
            raise BadOption(f"--check-text: not a text of at most {LARGEST_TEXT} bytes")
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    return Check(text=text, digest=digest, most=read_max_kl(options.get("max_kl", "")))


def require_checkable(plan: Plan) -> None:
    """Refuse, before a byte is written, what cannot be checked.

    Raises:
        BadOption: The model predicts no text.
        ConverterMissing: llama.cpp is missing.
    """
    open_library()
    container = plan.targets[0].container
    header = read_header(io.BytesIO(container.head), container.size)
    if f"{header.architecture}.pooling_type" in header.metadata or (
        header.metadata.get(f"{header.architecture}.attention.causal") is False
    ):
        raise BadOption(
            "--check: this model embeds or ranks texts, and predicts none",
            hint="convert without --check; compare its embeddings or scores with the source's",
        )


def reference_target(plan: Plan) -> PlannedTarget | None:
    """Return the file of this run that the others are compared with, if there is one."""
    known = {item.target.name: item for item in plan.targets}
    return next((known[name] for name in _FULL if name in known), None)


def reference_request(request: Request, plan: Plan, folder: Path) -> Request:
    """Return the request for a reference, made for the check alone, into ``folder``.

    It holds the weights as they are: float32 where the source has any, else 16-bit.
    """
    dtypes = {stored.dtype for stored in plan.stored.values()}
    name = "BF16" if dtypes <= {"BF16"} else "F16" if dtypes <= {"F16"} else "F32"
    options = {
        key: value for key, value in request.options.items() if key not in (*OPTIONS, "imatrix")
    }
    return replace(request, targets=(name,), options=options, output=str(folder))


class Measured:
    """The predictions of a reference, which candidates are compared with."""

    def __init__(self, check: Check, reference: Path, name: str, recorded: Path, threads: int):
        """Let the reference read the text.

        Args:
            check: What to read.
            reference: Its GGUF.
            name: Its type.
            recorded: Where its predictions go: 4 bytes a token and word of the vocabulary.
            threads: Worker threads; 0 for one per core.

        Raises:
            BadOption: The text is too short.
            CheckFailed: llama.cpp does not run the reference.
        """
        self._check = check
        self._recorded = recorded
        self._threads = threads
        self.name = name
        with Model(reference, threads=threads) as model:
            # A token has a byte at least, and no script more than a dozen a token.
            self._ids = model.tokenize(check.text[: MOST_TOKENS * 16])[:MOST_TOKENS]
            if len(self._ids) < FEWEST_TOKENS:
                raise BadOption(f"--check-text: only {len(self._ids)} tokens; give more text")
            record(model, self._ids, recorded)

    def compare(self, path: Path) -> tuple[Distance, str]:
        """Return how far a file is from the reference, and what it says first.

        Raises:
            CheckFailed: llama.cpp does not run it.
        """
        with Model(path, threads=self._threads) as model:
            said = model.text(model.generate(self._ids[:_PROMPT], _ANSWER))
            return compare(model, self._ids, self._recorded), said

    def describe(self, distance: Distance, said: str, *, is_reference: bool) -> dict[str, str]:
        """Return what the lineage keeps of a comparison."""
        kept = {
            "check": f"{PACKAGE} {runtime_version()}",
            "check_tokens": str(len(self._ids)),
            "check_text": self._check.digest or "built-in",
            "check_answer": "".join(c if c.isprintable() else " " for c in said)[:_SHOWN],
            "check_perplexity": f"{distance.perplexity:.4g}",
        }
        if not is_reference:
            kept |= {
                "check_reference": self.name,
                "check_reference_perplexity": f"{distance.reference_perplexity:.4g}",
                "check_kl": f"{distance.divergence:.3g}",
                "check_same_top": f"{distance.same_top:.3f}",
            }
        return kept

    def objection(self, target: str, distance: Distance) -> str:
        """Return why a target is refused; empty where it is not."""
        most = self._check.most
        if most is None or distance.divergence <= most:
            return ""
        return (
            f"{target} diverges {distance.divergence:.3g} nats a token from {self.name}, "
            f"more than --max-kl {most:g}"
        )
