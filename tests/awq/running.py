"""Run the converter inside the test's own process, on a folder as its source."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from modelvault import errors
from modelvault.core.protocol import Event, Failed, Produced, Request, SourceFile
from modelvault.errors import ModelVaultError
from modelvault_converters.awq.__main__ import serve


def make_request(
    folder: Path, target: str, output: Path, *, plan_only: bool = False, **options: str
) -> Request:
    """Return the request that the vault would send for ``folder``."""
    output.mkdir(parents=True, exist_ok=True)
    return Request(
        model=f"test/{folder.name}",
        revision="0" * 40,
        license="",
        files=tuple(
            SourceFile(path=path.name, location=str(path), size=path.stat().st_size)
            for path in sorted(folder.iterdir())
        ),
        targets=(target,),
        output=str(output),
        plan_only=plan_only,
        threads=1,
        options=options,
    )


def run(request: Request) -> list[Event]:
    """Return the events of a request; a ``Failed`` event is raised as the error it names."""
    events = list(serve(request.encode()))
    for event in events:
        if isinstance(event, Failed):
            kind: type[ModelVaultError] = getattr(errors, event.error)
            raise kind(event.message, hint=event.hint, issues=event.issues)
    return events


def produced(events: Iterable[Event]) -> Produced:
    """Return the one result among ``events``."""
    (found,) = [event for event in events if isinstance(event, Produced)]
    return found


def edit_config(folder: Path, **changes: Any) -> None:
    """Change entries of a folder's ``config.json``."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
