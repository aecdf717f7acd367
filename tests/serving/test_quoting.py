"""Values in each format: one value there, whatever it says."""

import json
import shlex
import subprocess

import pytest
import yaml as pyyaml
from hypothesis import given
from hypothesis import strategies as st

from modelvault.errors import BadOption
from modelvault.serving import quoting
from modelvault.serving.rendering import TEMPLATES, _environment, render
from tests.support.serving import HOSTILE, UNSPEAKABLE

LINES = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=40)
"""Texts of one line, as names and paths may be."""


@given(LINES)
def test_yaml_text_is_read_back_as_it_was(value: str) -> None:
    """By a parser of YAML 1.1 and by one of JSON; it stays on its line."""
    written = quoting.yaml(value)
    assert pyyaml.safe_load(f"key: {written}\nnext: 1\n") == {"key": value, "next": 1}
    assert json.loads(written) == value
    assert len(written.splitlines()) == 1


@given(LINES)
def test_variables_of_compose_and_kubernetes_are_never_begun(value: str) -> None:
    """Undone by their rule (``$$`` is ``$``) the text is what it was, and no ``$`` stands alone."""
    for quote in (quoting.compose, quoting.kubernetes_argument):
        read = pyyaml.safe_load(quote(value))
        assert read.replace("$$", "") == value.replace("$", "")
        assert read.replace("$$", "$") == value


@given(LINES)
def test_shell_word_is_one_word(value: str) -> None:
    """As the standard library splits it."""
    assert shlex.split(quoting.shell(value)) == [value]


@pytest.mark.parametrize("value", HOSTILE)
def test_shell_word_is_one_word_for_a_real_shell(value: str) -> None:
    """``sh`` prints the value and nothing else happens."""
    done = subprocess.run(
        ["sh", "-c", f"printf %s {quoting.shell(value)}"], capture_output=True, check=True
    )
    assert done.stdout.decode() == value


@given(LINES)
def test_word_of_systemd_is_quoted_where_it_must_be(value: str) -> None:
    """Undone by systemd's rules the word is what it was; no specifier or variable is left."""
    word = quoting.systemd_word(value)
    assert " " not in word or word.startswith('"')
    inner = word[1:-1] if word.startswith('"') else word
    undone = inner.replace('\\"', "\0").replace("\\\\", "\\").replace("\0", '"')
    assert undone.replace("%%", "%") == value or '\\"' in value  # an escaped pair in the value
    assert "%" not in word.replace("%%", "")
    assert "$" not in quoting.systemd_argument(value).replace("$$", "")


@given(LINES)
def test_parameter_of_nginx_ends_where_its_quotes_do(value: str) -> None:
    """Bare words hold nothing that ends a directive; ``$`` is refused."""
    if "$" in value:
        with pytest.raises(BadOption, match=r"\$"):
            quoting.nginx(value)
        return
    word = quoting.nginx(value)
    if not word.startswith('"'):
        assert not set(word) & set(" ;{}'\"\\#")
        return
    rest = word[1:-1].replace("\\\\", "").replace('\\"', "")
    assert '"' not in rest
    assert "\\" not in rest


@pytest.mark.parametrize("value", UNSPEAKABLE)
@pytest.mark.parametrize("name", sorted(set(quoting.FILTERS) - {"plain"}))
def test_line_ends_and_control_characters_are_refused_everywhere(name: str, value: str) -> None:
    """An attack: a name that brings a line of its own gets into no file."""
    with pytest.raises(BadOption):
        quoting.FILTERS[name](value)


@pytest.mark.parametrize("value", [*HOSTILE[:15], "~", "모델", *UNSPEAKABLE, ""])
def test_plain_takes_nothing_that_needs_quotes(value: str) -> None:
    """Names of units and services are plain, or refused."""
    with pytest.raises(BadOption):
        quoting.plain(value)


@pytest.mark.parametrize("function", [quoting.comment, quoting.systemd_text])
def test_line_that_would_go_on_is_refused(function: object) -> None:
    """An attack: a backslash at the end takes the next line in."""
    assert callable(function)
    with pytest.raises(BadOption, match="backslash"):
        function("a\\")


def test_template_that_prints_a_bare_value_is_a_defect() -> None:
    """What no filter has passed ends the rendering, whatever it is."""
    environment = _environment()
    for source in ("{{ value }}", "{{ value | upper }}", "{{ missing }}", "{{ [value] }}"):
        with pytest.raises(TypeError, match="without quoting"):
            environment.from_string(source).render(value="x")
    assert environment.from_string("{{ value | yaml }} {{ 3 }}").render(value="x") == '"x" 3'


def test_every_template_is_used_and_known() -> None:
    """None is left over, and the package has them all."""
    assert {path.name for path in TEMPLATES.iterdir()} == {
        "backoff.conf.j2",
        "compose.yaml.j2",
        "host-checks.md.j2",
        "kubernetes.yaml.j2",
        "nginx.conf.j2",
        "rules.yml.j2",
        "scrape.yml.j2",
        "sysctl.conf.j2",
        "unit.service.j2",
    }
    assert render("sysctl.conf.j2", settings=[("a.b", "1")]).endswith("a.b = 1\n")
