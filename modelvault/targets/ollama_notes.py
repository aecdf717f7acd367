"""What an operator should know of a model in Ollama, one sentence each."""

from collections.abc import Sequence
from pathlib import Path

from modelvault.core.gguf import Header
from modelvault.targets.gguf_artifact import is_embedder
from modelvault.targets.ollama_model import OllamaName
from modelvault.targets.receipt import InstalledFile, Placement


def model_notes(model: OllamaName, header: Header) -> tuple[str, ...]:
    """Return how the model is asked, and what it takes."""
    visible = "a running server sees the model at once"
    if is_embedder(header):
        notes = [f"an embedding model: ask /api/embed for {model}", visible]
        if _is_pooling_late(header):
            notes.append(
                "its pooling stands behind its tokenizer: 'ollama list' may call it a completion "
                "model, /api/show and /api/embed know better"
            )
        return tuple(notes)
    if header.text("tokenizer.chat_template"):
        chat = "chat needs Ollama 0.30 or newer, which uses the model's own template"
    else:
        chat = "the GGUF carries no chat template: prompts are passed as they are"
    return (f"ollama run {model}", visible, chat)


def _is_pooling_late(header: Header) -> bool:
    """Return whether a reader that stops at the tokenizer, as a server's list, misses it."""
    first = min(
        (start for key, (start, _) in header.spans.items() if key.startswith("tokenizer.")),
        default=header.data_start,
    )
    return header.spans[f"{header.architecture}.pooling_type"][0] > first


def place_notes(
    location: Path, model: OllamaName, wanted: OllamaName, *, new: bool
) -> tuple[str, ...]:
    """Return what is to be known of where the model goes.

    Args:
        location: Ollama's folder of models.
        model: What it is called there.
        wanted: What it was to be called.
        new: Whether no store was there before.
    """
    notes = ["no model.sig: Ollama keeps blobs, not a folder; status --check compares every byte"]
    if model != wanted:
        notes.append(
            f"called {model}, not {wanted}: a model there spells it so, and Ollama does not tell "
            "capital from small letters"
        )
    if new:
        notes.append(f"no store was here before: the server has to look into {location}")
    return tuple(notes)


def owner_notes(root: Path, files: Sequence[InstalledFile]) -> tuple[str, ...]:
    """Return what will not work where blobs belong to another user than the store.

    Args:
        root: Ollama's folder of models.
        files: What stands there of the model.
    """
    owner = root.stat().st_uid
    linked = [file for file in files if file.placement is Placement.HARDLINK]
    if all((root / file.path).lstat().st_uid == owner for file in linked):
        return ()
    sentence = (
        "the weights are the vault's own file, not of the store's owner: 'ollama create' FROM this "
        "model fails, for it sets their times; list, run, cp and rm work"
    )
    return (sentence,)
