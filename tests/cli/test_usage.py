"""Command lines that do not parse: told like every other error, in text or as JSON."""

import json

import pytest

from modelvault.cli.main import run

UNUSABLE = [
    (["pull", "acme/tiny", "--no-such"], "--no-such"),
    (["show"], "REF"),
    (["pull", "acme/tiny", "--connections", "many"], "--connections"),
    (["pull", "acme/tiny", "--connections", "0"], "--connections"),
    (["bundle"], "command"),
    (["bundle", "shwo", "."], "shwo"),
    (["list", "more"], "more"),
    (["list", "--vault"], "--vault"),
]


@pytest.mark.parametrize(("arguments", "culprit"), UNUSABLE)
@pytest.mark.parametrize("first", [True, False])
def test_unusable_command_line_is_one_json_error(
    capsys: pytest.CaptureFixture[str], arguments: list[str], culprit: str, first: bool
) -> None:
    """With --json anywhere: nothing on standard output, one object on standard error, status 2."""
    if arguments[-1] == "--vault" and not first:
        arguments = [*arguments[:-1], "--json", "--vault"]  # else --json is the folder's name
        order = arguments
    else:
        order = ["--json", *arguments] if first else [*arguments, "--json"]
    status, printed = run(order), capsys.readouterr()
    assert (status, printed.out) == (2, "")
    report = json.loads(printed.err)
    assert (report["event"], report["error"], report["exit_code"]) == ("error", "BadUsage", 2)
    assert culprit in report["message"]
    assert "--help" in report["hint"]


@pytest.mark.parametrize(("arguments", "culprit"), UNUSABLE[:4])
def test_unusable_command_line_is_an_error_with_a_hint(
    capsys: pytest.CaptureFixture[str], arguments: list[str], culprit: str
) -> None:
    """People read it as every other error."""
    status, printed = run(arguments), capsys.readouterr()
    assert (status, printed.out) == (2, "")
    error, hint = printed.err.splitlines()
    assert error.startswith("error: ")
    assert culprit in error
    assert hint == f"hint: modelvault {arguments[0]} --help shows how it is called"
