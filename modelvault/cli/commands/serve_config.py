"""``modelvault serve-config``."""

from pathlib import Path
from typing import Annotated, TypeVar

import typer

from modelvault.app.serve_config import Configuration, configure, write_files
from modelvault.app.vault import Vault
from modelvault.cli.completion import ReferenceArgument, complete_from
from modelvault.cli.documents.serve_config import ServingConfiguration
from modelvault.cli.session import Session
from modelvault.core.names import parse_reference
from modelvault.errors import BadOption
from modelvault.serving.choices import Form, Server
from modelvault.serving.memory import KV_CACHES
from modelvault.serving.wishes import Wishes

_Choice = TypeVar("_Choice", Server, Form)

_MEMORY = "Memory and processors"
_NETWORK = "Network"
_CONTAINERS = "Containers"
_PROXY = "nginx"
_CACHES = tuple(sorted({kind for kinds in KV_CACHES.values() for kind in kinds}))


def serve_config(
    context: typer.Context,
    *,
    reference: ReferenceArgument,
    server_text: Annotated[
        str,
        typer.Option("--for", help=f"{', '.join(Server)}.", autocompletion=complete_from(Server)),
    ],
    form_text: Annotated[
        str, typer.Option("--as", help=f"{', '.join(Form)}.", autocompletion=complete_from(Form))
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the files there, instead of printing them.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace files that differ, with --out.")
    ] = False,
    path: Annotated[
        str | None,
        typer.Option("--path", help="Where the model stands; default: where it is installed."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="What clients call it; default: as installed.")
    ] = None,
    program: Annotated[
        str | None, typer.Option("--program", help="The server's program, for systemd.")
    ] = None,
    user: Annotated[
        str | None,
        typer.Option("--user", help="Account of the service; default: one made for it."),
    ] = None,
    gpus: Annotated[
        int | None,
        typer.Option(
            "--gpus", help="GPUs that share the model; default 1.", rich_help_panel=_MEMORY
        ),
    ] = None,
    model_context: Annotated[
        int | None,
        typer.Option(
            "--context",
            help="Tokens of a conversation; default 8192, or fewer where the model has fewer.",
            rich_help_panel=_MEMORY,
        ),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency",
            help="Requests at once; default 32, of llama.cpp and Ollama 4.",
            rich_help_panel=_MEMORY,
        ),
    ] = None,
    gpu_memory: Annotated[
        float | None,
        typer.Option(
            "--gpu-memory",
            help="Part of each GPU's memory; default 0.90, of SGLang 0.88.",
            rich_help_panel=_MEMORY,
        ),
    ] = None,
    kv_cache: Annotated[
        str | None,
        typer.Option(
            "--kv-cache",
            help="Type of the cache: f16, fp8 (vLLM, SGLang), q8_0 (llama.cpp, Ollama).",
            autocompletion=complete_from(_CACHES),
            rich_help_panel=_MEMORY,
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option("--memory", help="Most of the host's memory.", rich_help_panel=_MEMORY),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads", help="Threads of the processor; default 8.", rich_help_panel=_MEMORY
        ),
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(
            "--listen",
            metavar="HOST:PORT",
            help="Where it answers; default: this host alone, nginx 0.0.0.0:443.",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    clients: Annotated[
        list[str] | None,
        typer.Option(
            "--clients",
            metavar="NETWORK",
            help="A network that may ask, as in 10.0.0.0/8; repeatable.",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    registry: Annotated[
        str | None,
        typer.Option(
            "--registry", help="The site's registry of images.", rich_help_panel=_CONTAINERS
        ),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            "--image", help="The image, pinned by tag or digest.", rich_help_panel=_CONTAINERS
        ),
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option(
            "--namespace",
            help="Namespace of Kubernetes; default models.",
            rich_help_panel=_CONTAINERS,
        ),
    ] = None,
    claim: Annotated[
        str | None,
        typer.Option(
            "--claim",
            help="Volume claim that holds the models; default: a folder of the node.",
            rich_help_panel=_CONTAINERS,
        ),
    ] = None,
    server_name: Annotated[
        str | None,
        typer.Option(
            "--server-name",
            help="Name in the certificate; default models.internal.",
            rich_help_panel=_PROXY,
        ),
    ] = None,
    certificate: Annotated[
        str | None,
        typer.Option("--certificate", help="Certificate chain, PEM.", rich_help_panel=_PROXY),
    ] = None,
    certificate_key: Annotated[
        str | None,
        typer.Option("--certificate-key", help="Its private key, PEM.", rich_help_panel=_PROXY),
    ] = None,
    keys: Annotated[
        str | None,
        typer.Option("--keys", help="Folder of the clients' keys.", rich_help_panel=_PROXY),
    ] = None,
    upstream: Annotated[
        list[str] | None,
        typer.Option(
            "--upstream",
            metavar="NAME=HOST:PORT,…",
            help="Servers of one kind, such as korean=10.0.0.5:8000; repeatable.",
            rich_help_panel=_PROXY,
        ),
    ] = None,
    rate: Annotated[
        int | None,
        typer.Option(
            "--rate", help="Requests a second for each key; default 5.", rich_help_panel=_PROXY
        ),
    ] = None,
    burst: Annotated[
        int | None,
        typer.Option(
            "--burst",
            help="Requests above the rate, and at once, for each key; default 20.",
            rich_help_panel=_PROXY,
        ),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow",
            metavar="REQUEST",
            help="A further request to pass on, as in 'POST /v1/rerank'; repeatable.",
            rich_help_panel=_PROXY,
        ),
    ] = None,
) -> None:
    """Write the configuration of a server for an installed model: hardened, and offline."""
    session = Session.of(context)
    if replace and out is None:
        raise BadOption("--replace is for files in a folder", hint="name it with --out")
    wishes = Wishes(
        path=path,
        name=name,
        program=program,
        user=user,
        gpus=gpus,
        context=model_context,
        concurrency=concurrency,
        gpu_memory=gpu_memory,
        kv_cache=kv_cache,
        memory=memory,
        threads=threads,
        listen=listen,
        clients=tuple(clients or ()),
        registry=registry,
        image=image,
        namespace=namespace,
        claim=claim,
        server_name=server_name,
        certificate=certificate,
        certificate_key=certificate_key,
        keys=keys,
        upstream=tuple(upstream or ()),
        rate=rate,
        burst=burst,
        allow=tuple(allow or ()),
    )
    server, form = _parse(Server, server_text, "--for"), _parse(Form, form_text, "--as")
    with Vault.open(session.vault) as vault:
        made = configure(vault, parse_reference(reference), server, form, wishes)
    written = None if out is None else write_files(made.files, out.absolute(), replace=replace)
    if not session.json:  # the document has them
        for note in made.notes:
            session.warn(note)
    if written is None:
        session.result(ServingConfiguration.of(made, None, ()), _printed(made))
        return
    session.result(
        ServingConfiguration.of(made, out, written),
        [f"{file.state:<9}  {file.path}" for file in written],
    )


def _parse(kind: type[_Choice], text: str, option: str) -> _Choice:
    try:
        return kind(text)
    except ValueError:
        raise BadOption(
            f"{option} {text!r} is not known", hint=f"choose one of: {', '.join(kind)}"
        ) from None


def _printed(made: Configuration) -> list[str]:
    if len(made.files) == 1:
        return made.files[0].text.splitlines()
    lines: list[str] = []
    for file in made.files:
        lines += [f"# ----- {file.path} -----", *file.text.splitlines(), ""]
    return lines[:-1]
