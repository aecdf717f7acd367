"""The table of commands: what each is called, what help says of it, and where it lives.

This is all that ``modelvault --help`` reads of the commands. A command's own module, and with
it the verb in ``app`` and everything below, is imported when that command is called, or when
the help or the completion of that command is asked for.
"""

from dataclasses import dataclass

CONNECTED = "Connected host"
VAULT = "The vault"
CLOSED = "Closed network"
TRUST = "Trust"


ALIASES = {"ls": "list", "rm": "remove"}
"""Short name → name of a command, in every group that has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRow:
    """One command."""

    name: str
    help: str
    """What it does, in one line: the first line of its function's docstring."""
    function: str
    """``MODULE:FUNCTION`` in ``modelvault.cli.commands``."""
    panel: str = ""
    """Heading under which help lists it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRow:
    """Commands that share their first word."""

    name: str
    help: str
    commands: tuple[CommandRow, ...]
    panel: str = ""


COMMANDS: tuple[CommandRow | GroupRow, ...] = (
    CommandRow(
        name="pull",
        help="Bring models into the vault: from the Hub, a folder or a web server; resumable.",
        function="pull:pull",
        panel=CONNECTED,
    ),
    CommandRow(
        name="list",
        help="List what the vault holds.",
        function="list:list_",
        panel=VAULT,
    ),
    CommandRow(
        name="du",
        help="Show how much disk each model takes, and what of it models share.",
        function="du:du",
        panel=VAULT,
    ),
    CommandRow(
        name="verify",
        help="Re-hash everything the vault holds, or the artefacts named, and the event log.",
        function="verify:verify",
        panel=VAULT,
    ),
    CommandRow(
        name="remove",
        help="Forget artefacts; gc then frees their bytes.",
        function="remove:remove",
        panel=VAULT,
    ),
    CommandRow(
        name="gc",
        help="Free the bytes that no artefact refers to.",
        function="gc:gc",
        panel=VAULT,
    ),
    CommandRow(
        name="history",
        help="Show the event log, oldest first; its hash chain is checked first.",
        function="history:history",
        panel=VAULT,
    ),
    CommandRow(
        name="rebuild",
        help="Restore the catalogue from the records in the store.",
        function="rebuild:rebuild",
        panel=VAULT,
    ),
    CommandRow(
        name="show",
        help="Show one artefact: files, licence, lineage.",
        function="show:show",
        panel=VAULT,
    ),
    CommandRow(
        name="inspect",
        help="Show what a GGUF or safetensors file holds; reads headers only, needs no vault.",
        function="inspect:inspect",
        panel=VAULT,
    ),
    CommandRow(
        name="fit",
        help="Say whether a model fits into a GPU's memory, before a pull or once it is stored.",
        function="fit:fit",
        panel=CONNECTED,
    ),
    CommandRow(
        name="convert",
        help="Convert an artefact to what a runtime wants; the source stays.",
        function="convert:convert",
        panel=CONNECTED,
    ),
    GroupRow(
        name="gguf",
        help="Split and merge GGUF files.",
        commands=(
            CommandRow(
                name="split",
                help="Cut a GGUF into shards, which llama.cpp loads by the first: files, "
                "or a new variant.",
                function="gguf:split",
            ),
            CommandRow(
                name="merge",
                help="Put shards into one GGUF: a file, or a new variant.",
                function="gguf:merge",
            ),
        ),
        panel=VAULT,
    ),
    CommandRow(
        name="export",
        help="Write a signed bundle of the artefacts named, or of everything, onto a medium.",
        function="export:export",
        panel=CONNECTED,
    ),
    CommandRow(
        name="import",
        help="Verify a bundle and take everything in it into the vault; resumes where it stopped.",
        function="import_:import_",
        panel=CLOSED,
    ),
    GroupRow(
        name="bundle",
        help="Look at a bundle, which needs no vault, or sign it.",
        commands=(
            CommandRow(
                name="verify",
                help="Check every byte of a bundle against its signature; needs no vault.",
                function="bundle:verify",
            ),
            CommandRow(
                name="show",
                help="Show what a bundle says it holds, without reading the volumes through.",
                function="bundle:show",
            ),
            CommandRow(
                name="sign",
                help="Check every byte of a bundle and add this vault's signature to it.",
                function="bundle_sign:sign",
            ),
        ),
        panel=CLOSED,
    ),
    CommandRow(
        name="install",
        help="Put an artefact where a runtime finds it, without a second copy where possible.",
        function="install:install",
        panel=CLOSED,
    ),
    CommandRow(
        name="uninstall",
        help="Take back exactly what an install did, as its receipt says.",
        function="uninstall:uninstall",
        panel=CLOSED,
    ),
    CommandRow(
        name="status",
        help="Show what is installed where.",
        function="status:status",
        panel=CLOSED,
    ),
    CommandRow(
        name="serve-config",
        help="Write the configuration of a server for an installed model: hardened, and offline.",
        function="serve_config:serve_config",
        panel=CLOSED,
    ),
    GroupRow(
        name="key",
        help="This site's signing key.",
        commands=(
            CommandRow(
                name="generate",
                help="Make the signing key, where there is none yet.",
                function="key:generate",
            ),
            CommandRow(
                name="list",
                help="Show the signing key's fingerprint.",
                function="key:list_",
            ),
            CommandRow(
                name="export",
                help="Write the public key to a file, for sites that import.",
                function="key:export",
            ),
        ),
        panel=TRUST,
    ),
    GroupRow(
        name="trust",
        help="The keys whose bundles are imported.",
        commands=(
            CommandRow(
                name="add",
                help="Trust a publisher's key: its bundles can be imported from now on.",
                function="trust:add",
            ),
            CommandRow(
                name="list",
                help="List the keys that are trusted.",
                function="trust:list_",
            ),
            CommandRow(
                name="remove",
                help="Trust a key no longer.",
                function="trust:remove",
            ),
        ),
        panel=TRUST,
    ),
)


def every_command() -> dict[str, CommandRow]:
    """Return all commands by what a user types, such as ``pull`` or ``bundle show``."""
    found: dict[str, CommandRow] = {}
    for row in COMMANDS:
        if isinstance(row, CommandRow):
            found[row.name] = row
        else:
            found |= {f"{row.name} {command.name}": command for command in row.commands}
    return found
