"""What teaches a shell to complete: its script, shown or installed."""

import shlex
from pathlib import Path

from modelvault import fsio
from modelvault.cli.session import Session
from modelvault.errors import BadOption

_BASH = """
_modelvault_completion() {
    mapfile -t COMPREPLY < <(env COMP_LINE="$COMP_LINE" COMP_POINT="$COMP_POINT" \\
        COMP_WORDBREAKS="$COMP_WORDBREAKS" _MODELVAULT_COMPLETE=complete_bash \\
        "${1/#\\~\\//$HOME/}" 2>/dev/null)
    if [[ ${COMPREPLY[0]} == *[:=/] ]]; then
        compopt -o nospace
    fi
}

complete -o default -o nosort -F _modelvault_completion modelvault
"""
_ZSH = """
#compdef modelvault

_modelvault_completion() {
    local -a offers values described
    local offer
    offers=("${(@f)$(env _MODELVAULT_WORDS="${(pj:\\n:)words[1,CURRENT-1]}" \\
        _MODELVAULT_WORD="$PREFIX" _MODELVAULT_COMPLETE=complete_zsh \\
        ${~words[1]} 2>/dev/null)}")
    for offer in "${offers[@]}"; do
        [[ -n $offer ]] || continue
        values+=("${offer%%$'\\t'*}")
        described+=("${offer/$'\\t'/  -- }")
    done
    if (( ${#values} )) && [[ ${values[1]} == *[:=/] ]]; then
        compadd -S '' -l -d described -a values
    elif (( ${#values} )); then
        compadd -l -d described -a values
    else
        _files
    fi
}

compdef _modelvault_completion modelvault
"""
_FISH = """
function __modelvault_completion
    set -l program (commandline -opc)[1]
    set -l offers (env _MODELVAULT_COMPLETE=complete_fish \\
        _MODELVAULT_WORDS=(commandline -opc | string collect) \\
        _MODELVAULT_WORD=(commandline -ct | string collect) $program 2>/dev/null)
    if test (count $offers) -gt 0
        printf '%s\\n' $offers
    else
        __fish_complete_path (commandline -ct)
    end
end

complete --command modelvault --no-files --arguments '(__modelvault_completion)'
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
_HINT = f"name one of {', '.join(_SCRIPTS)}: modelvault --show-completion bash"


def show_completion(session: Session, shell: str | None) -> None:
    """Print a shell's script; without a name, that of the shell which called.

    Raises:
        BadOption: No such shell is known.
    """
    session.result([], script(shell or _calling_shell()).splitlines())


def install_completion(session: Session, shell: str | None) -> None:
    """Write a shell's script where the shell finds it, for this user.

    Raises:
        BadOption: No such shell is known.
        StorageError: The file system refuses.
    """
    chosen = shell or _calling_shell()
    path = install(chosen, Path.home())
    session.result([], [f"{chosen} completes modelvault from its next start on: {path}"])


def _calling_shell() -> str:
    import shellingham  # type: ignore[import-untyped] # of typer's own dependencies

    try:
        name, _ = shellingham.detect_shell()
    except shellingham.ShellDetectionFailure as error:
        raise BadOption("which shell calls cannot be told", hint=_HINT) from error
    return str(name)


def script(shell: str) -> str:
    """Return the text that teaches a shell to ask.

    Raises:
        BadOption: No such shell is known.
    """
    if shell not in _SCRIPTS:
        raise BadOption(f"there is no completion for the shell {shell!r}", hint=_HINT)
    return _SCRIPTS[shell].strip() + "\n"


def install(shell: str, home: Path) -> Path:
    """Write a shell's script where the shell reads it, and see to it that it does.

    Args:
        shell: Which.
        home: The user's folder.

    Raises:
        BadOption: No such shell is known.
        StorageError: The file system refuses.
    """
    text = script(shell)
    if shell == "bash":
        path = home / ".bash_completions" / "modelvault.sh"
        _append(home / ".bashrc", f"source {shlex.quote(str(path))}")
    elif shell == "zsh":
        path = home / ".zfunc" / "_modelvault"
        _append(home / ".zshrc", "fpath+=~/.zfunc; autoload -Uz compinit; compinit")
    else:
        path = home / ".config" / "fish" / "completions" / "modelvault.fish"
    with fsio.storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return path


def _append(path: Path, line: str) -> None:
    with fsio.storage_errors(path):
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        if line not in lines:
            with path.open("a", encoding="utf-8") as file:
                file.write(f"\n{line}\n")
