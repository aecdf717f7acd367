"""Run the converter inside the test's own process, on a folder as its source."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from modelvault import errors
from modelvault.core.protocol import Event, Failed, Planned, Produced, Request, SourceFile, Warned
from modelvault.errors import ModelVaultError
from modelvault_converters.gguf.__main__ import serve


def make_request(
    folder: Path,
    targets: Iterable[str],
    output: Path,
    *,
    options: Mapping[str, str] | None = None,
    plan_only: bool = False,
    model: str = "",
    threads: int = 2,
) -> Request:
    """Return the request that the vault would send for ``folder``."""
    output.mkdir(parents=True, exist_ok=True)
    return Request(
        model=model or f"test/{folder.name}",
        revision="0" * 40,
        license="",
        files=tuple(
            SourceFile(
                path=path.relative_to(folder).as_posix(),
                location=str(path),
                size=path.stat().st_size,
            )
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        ),
        targets=tuple(targets),
        output=str(output),
        plan_only=plan_only,
        threads=threads,
        options=dict(options or {}),
    )


def run(request: Request) -> list[Event]:
    """Return the events of a request; a ``Failed`` event is raised as the error it names."""
    events = list(serve(request.encode()))
    for event in events:
        if isinstance(event, Failed):
            kind: type[ModelVaultError] = getattr(errors, event.error)
            raise kind(event.message, hint=event.hint, issues=event.issues)
    return events


def convert(folder: Path, target: str, output: Path, **options: str) -> Path:
    """Return the GGUF of ``folder`` as ``target``."""
    events = run(make_request(folder, [target], output, options=options))
    (produced,) = [event for event in events if isinstance(event, Produced)]
    return output / produced.files[0]


def plan(folder: Path, *targets: str, **options: str) -> list[Event]:
    """Return the events of a plan, which writes nothing."""
    output = folder.parent / f"{folder.name}-plan"
    events = run(make_request(folder, targets or ["F16"], output, options=options, plan_only=True))
    assert list(output.iterdir()) == []
    return events


def warnings(events: Iterable[Event]) -> list[str]:
    """Return the texts of the warnings among ``events``."""
    return [event.message for event in events if isinstance(event, Warned)]


def sizes(events: Iterable[Event]) -> dict[str, int]:
    """Return target → planned bytes."""
    return {event.target: event.size for event in events if isinstance(event, Planned)}


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file in place."""
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")
