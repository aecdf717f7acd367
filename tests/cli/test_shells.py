"""Completion in real shells: typed on a terminal, with a tab, and run."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer._click.shell_completion import CompletionItem
from typer.main import get_command

from modelvault.cli.program import app
from modelvault.cli.shell_scripts import install, script
from modelvault.cli.shells import answer
from modelvault.errors import BadOption
from tests.support.command import Site
from tests.support.needs import require
from tests.support.terminal import Transcript, open_terminal

_SHELLS = ("bash", "zsh", "fish")
_COMMANDS: Mapping[str, list[str]] = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
# What is typed is run by a function that prints its arguments; completion asks the program.
_ECHO = "modelvault() {{ printf '<%s>' \"$@\"; echo '=='END; }}"
_SETUP: Mapping[str, str] = {
    "bash": f"PS1='RE''ADY> '; source {{script}}; {_ECHO}",
    "zsh": "PS1='RE''ADY> '; autoload -Uz compinit; compinit -u -d {home}/dump; source {script}; "
    + _ECHO,
    "fish": "source {script}; function modelvault; printf '<%s>' $argv; echo '=='END; end; "
    "function fish_prompt; echo -n RE''ADY'> '; end",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Return a site with a model, and its like in another vault."""
    folder = tmp_path_factory.mktemp("shells")
    site = Site(folder / "home")
    model = folder / "model"
    model.mkdir()
    (model / "config.json").write_bytes(b"{}")
    site.run("pull", model, "--as", "acme/tiny").ok()
    site.run("pull", model, "--as", "acme/other", "--vault", site.home / "second").ok()
    return site


def typed(shell: str, site: Site, lines: Mapping[str, str]) -> dict[str, str]:
    """Type lines into a shell, each with a tab; return what was run for each."""
    program = shutil.which(shell) or require(shell)
    path = site.home / f"completion.{shell}"
    path.write_text(script(shell))
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(site.home),
    }
    found = {}
    command = [program, *_COMMANDS[shell][1:]]
    with open_terminal(
        command, columns=200, environment=environment, cwd=site.home, screen=Transcript
    ) as terminal:
        terminal.type(_SETUP[shell].format(script=path, home=site.home) + "\n")
        terminal.wait_until(lambda: "READY> " in terminal.written)
        for line in lines:
            before = len(terminal.written)
            terminal.type(f"{line}\t")
            terminal.type("\n")
            terminal.wait_until(lambda: "==END" in terminal.written[before:])  # noqa: B023
            answered = terminal.written[before:].partition("==END")[0]
            found[line] = "<" + answered.partition("<")[2]
    return found


@pytest.mark.parametrize("shell", _SHELLS)
def test_words_complete_beyond_every_break(shell: str, site: Site) -> None:
    """At a colon, an equals sign, an at sign, in quotes, and for the vault that ``~`` names."""
    (row,) = site.run("list", "--json").ok().document
    expected = {
        "modelvault show ac": "<show><acme/tiny>",
        "modelvault convert acme/tiny --to gguf:Q8": "<convert><acme/tiny><--to><gguf:Q8_0>",
        "modelvault convert --to=gguf:Q8": "<convert><--to=gguf:Q8_0>",
        "modelvault show acme/tiny@": f"<show><{row['reference']}>",
        'modelvault show "ac': "<show><acme/tiny>",
        f"modelvault show sha256:{row['artifact'][7:13]}": f"<show><{row['artifact'][:19]}>",
        "modelvault --vault ~/second show ac": f"<--vault><{site.home}/second><show><acme/other>",
        "modelvault show --vault=$HOME/second ac": (
            f"<show><--vault={site.home}/second><acme/other>"
        ),
        "modelvault bundle verify comp": f"<bundle><verify><completion.{shell}>",
    }
    if shell != "bash":  # the scripts of all shells lie there by then
        del expected["modelvault bundle verify comp"]
    assert typed(shell, site, expected) == expected


def asked(words: str, site: Site, **environment: str) -> list[str]:
    """Return what bash is offered for a line, of which the last word is begun."""
    line = {
        "COMP_LINE": words,
        "COMP_POINT": str(len(words)),
        "_MODELVAULT_COMPLETE": "complete_bash",
    }
    done = site.run_python("-c", _ASK, *(f"{k}={v}" for k, v in {**line, **environment}.items()))
    return done.ok().stdout.splitlines()


_ASK = """
import os, sys
os.environ.update(item.split("=", 1) for item in sys.argv[1:])
from modelvault.cli.main import run
run([])
"""


@pytest.mark.parametrize(
    ("words", "breaks", "expected"),
    [
        ("modelvault show acme/t", None, "acme/tiny"),
        ("modelvault convert x --to gguf:Q8", None, "Q8_0"),
        ("modelvault convert x --to gguf:Q8", " \t\n", "gguf:Q8_0"),
        ("modelvault convert x --to=gguf:Q8", " \t\n=", "gguf:Q8_0"),
        ("modelvault convert x --to 'gguf:Q8", None, "gguf:Q8_0"),
        ("modelvault --vault='$HOME/second' show ac", None, "acme/other"),
        ("modelvault --vault ~/second\\  show ac", None, None),
        ("modelvault list --sort=si", None, "size"),
        ("modelvault list --filter quant", None, "quantization="),
        ("modelvault inspect ac", None, "acme/tiny"),
        ("modelvault gguf split ac", None, "acme/tiny"),
        ("modelvault pull ac", None, None),
        ("modelvault pull --update ac", None, "acme/tiny"),
        ("modelvault remove acme/tiny ac", None, None),
    ],
)
def test_bash_gets_what_stands_behind_its_break(
    site: Site, words: str, breaks: str | None, expected: str | None
) -> None:
    """Whatever its user calls a break; what a command has been given is not offered again."""
    environment = {} if breaks is None else {"COMP_WORDBREAKS": breaks}
    assert asked(words, site, **environment) == ([] if expected is None else [expected])


@pytest.mark.parametrize(
    ("words", "index", "expected"),
    [
        ("modelvault\nconvert\nx\n--to\ngguf\n:\nQ8", 6, ["Q8_0"]),
        ("modelvault\nconvert\nx\n--to\n=\ngguf\n:\nQ8", 7, ["Q8_0"]),
        ("modelvault\nshow\nacme/tiny\n@", 3, ["@"]),
    ],
)
def test_words_that_bash_has_broken_are_joined_again(
    site: Site, words: str, index: int, expected: list[str]
) -> None:
    """The functions that earlier releases installed send bash's own words."""
    done = site.run_python(
        "-c",
        _ASK,
        f"COMP_WORDS={words}",
        f"COMP_CWORD={index}",
        "_MODELVAULT_COMPLETE=complete_bash",
    )
    assert [line[: len(word)] for line, word in zip(done.ok().stdout.splitlines(), expected)] == (
        expected
    )


def test_names_of_installs_and_fingerprints_complete(site: Site, tmp_path: Path) -> None:
    """What ``uninstall`` and ``trust remove`` take, fingerprints begun either way."""
    model = tmp_path / "model"
    model.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (model / name).write_bytes(b"{}")
    site.run("pull", model, "--as", "acme/whole").ok()
    site.run("install", "acme/whole", "--to", "vllm", "--dir", tmp_path, "--as", "whole").ok()
    assert asked("modelvault uninstall wh", site) == ["whole"]
    site.run("key", "generate").ok()
    site.run("key", "export", "--out", tmp_path / "key.pem").ok()
    site.run("trust", "add", tmp_path / "key.pem", "--yes").ok()
    (key,) = site.run("trust", "list", "--json").ok().document
    fingerprint = key["fingerprint"]
    digits = fingerprint.removeprefix("SHA256:")
    assert asked("modelvault trust remove ", site) == [fingerprint]
    assert asked("modelvault trust remove SHA256:", site) == [digits]
    assert asked(f"modelvault trust remove {digits[:4]}", site) == [digits]


def test_attack_name_with_shell_syntax_is_offered_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is anyone's: bash gets it quoted, and none that cannot be typed."""
    names = ["a$(reboot)", "a`id`;b", "a b'c", 'a"$HOME"', "a\x1b[2J", "a\nb", "plain"]
    monkeypatch.setattr(
        "modelvault.cli.shells._Offers.get_completions",
        lambda *_: [CompletionItem(name) for name in names],
    )
    for start in ("", "'", '"'):
        line = f"modelvault uninstall {start}"
        environment = {
            "_MODELVAULT_COMPLETE": "complete_bash",
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
        }
        offers = answer(get_command(app), {}, "modelvault", environment) or ""
        words = " ".join(f"{start}{offer}{start}" for offer in offers.splitlines())
        shown = subprocess.run(
            ["bash", "-c", f"printf '%s\\n' {words}"], capture_output=True, text=True, check=True
        ).stdout
        assert shown.splitlines() == [*names[:4], "plain"]


def test_unknown_shell_is_refused_with_those_there_are() -> None:
    """Not silently installed nowhere."""
    with pytest.raises(BadOption, match="tcsh") as caught:
        script("tcsh")
    assert "bash, zsh, fish" in caught.value.hint


@pytest.mark.parametrize("shell", _SHELLS)
def test_script_is_installed_once_where_the_shell_reads_it(shell: str, tmp_path: Path) -> None:
    """Beside what stands in the user's files already."""
    (tmp_path / ".bashrc").write_text("mine")
    for _ in range(2):
        path = install(shell, tmp_path)
    assert path.read_text() == script(shell)
    if shell == "bash":
        assert (tmp_path / ".bashrc").read_text() == f"mine\nsource {path}\n"


def test_show_completion_names_its_shell(tmp_path: Path) -> None:
    """``--show-completion zsh`` prints what an administrator installs for everybody."""
    site = Site(tmp_path)
    assert site.run("--show-completion", "zsh").ok().stdout == script("zsh")
    refused = site.run("--show-completion", "tcsh")
    assert refused.status == 2
    assert "[BadOption]" in refused.stderr
