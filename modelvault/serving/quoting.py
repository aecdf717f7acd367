r"""How a value is written in each format, so that it is one value there and nothing else.

Templates may only print what passed one of these functions: they return ``Quoted``, and
``rendering`` refuses any other text. A value that a format has no way to write is refused; none
is changed in silence.

Example:
    >>> print(yaml('a "b"'), systemd_argument("50% of $HOME"), nginx("/srv/a b"))
    "a \"b\"" "50%% of $$HOME" "/srv/a b"
"""

import json
import re
import shlex
import unicodedata
from collections.abc import Callable, Mapping

from modelvault.errors import BadOption

_YAML_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_PLAIN = re.compile(r"[A-Za-z0-9._/:@+-]+")
_BARE = re.compile(r"[A-Za-z0-9._/:@+=,-]+")
"""Words that need no quotes for systemd and nginx: the files are there to be read."""
_TEMPLATE_ACTION = "{{"


class Quoted(str):
    """Text that is right in its format as it stands."""

    __slots__ = ()


def check_text(value: str, *, what: str = "a value") -> str:
    """Return a text that every format can hold: one line, of characters that are ones.

    Args:
        value: The text.
        what: What it is, for the message.

    Raises:
        BadOption: It holds control characters, line ends of any kind, or halves of characters.
    """
    for character in value:
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
            raise BadOption(
                f"{what} holds a character that no configuration may hold: {value!r}",
                hint="rename it, or choose another",
            )
    return value


def comment(value: str) -> Quoted:
    """Return a text for the rest of a line that begins with ``#``.

    Raises:
        BadOption: It ends with a backslash, which would go on in the next line.
    """
    text = check_text(value)
    if text.endswith("\\"):
        raise BadOption(f"{value!r} ends with a backslash", hint="choose another")
    return Quoted(text)


def plain(value: str) -> Quoted:
    """Return a name or path that is right in every format as it stands.

    Raises:
        BadOption: It holds anything but ASCII letters, digits and ``._/:@+-``.
    """
    if not _PLAIN.fullmatch(value):
        raise BadOption(f"{value!r} is no plain name or path", hint="choose another")
    return Quoted(value)


def systemd_argument(value: str) -> Quoted:
    """Return one word of ``ExecStart=``.

    Source: systemd.service(5), "Command lines"; systemd.syntax(7), "Quoting".
    """
    return Quoted(systemd_word(value).replace("$", "$$"))


def systemd_word(value: str) -> Quoted:
    """Return one word of a setting that is a list of words, such as ``Environment=``.

    Source: systemd.syntax(7), "Quoting"; systemd.unit(5), "Specifiers".
    """
    if _BARE.fullmatch(value):
        return Quoted(value)
    text = check_text(value).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return Quoted(f'"{text}"')


def systemd_text(value: str) -> Quoted:
    r"""Return the whole of a setting that is plain text, such as ``Description=``.

    Raises:
        BadOption: It ends with a backslash, which would go on in the next line.
    """
    return Quoted(comment(value).replace("%", "%%"))


def yaml(value: str | float) -> Quoted:
    """Return a scalar of YAML: a text in double quotes, or a number.

    Source: https://yaml.org/spec/1.2.2, section 7.3.1; JSON's strings are YAML's, but for what
    YAML counts as line ends and byte order marks.
    """
    if not isinstance(value, str):
        return Quoted(json.dumps(value))
    text = json.dumps(check_text(value), ensure_ascii=False)
    return Quoted(_YAML_ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def compose(value: str) -> Quoted:
    """Return a text of a compose file, in which ``$`` begins a variable.

    Source: https://github.com/compose-spec/compose-spec/blob/main/12-interpolation.md
    """
    return yaml(value.replace("$", "$$"))


def kubernetes_argument(value: str) -> Quoted:
    """Return a text of ``command``, ``args`` or ``env`` in a pod, where ``$(NAME)`` is a variable.

    Source: https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables
    """
    return yaml(value.replace("$", "$$"))


def nginx(value: str) -> Quoted:
    r"""Return one parameter of a directive.

    Raises:
        BadOption: It holds ``$``, which nginx takes for a variable and cannot escape.

    Source: ``ngx_conf_read_token`` of nginx: in quotes a backslash escapes itself and a quote.
    """
    if _BARE.fullmatch(value):
        return Quoted(value)
    text = check_text(value)
    if "$" in text:
        raise BadOption(f"{value!r} holds '$', which nginx cannot write", hint="choose another")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return Quoted(f'"{escaped}"')


def annotation(value: str) -> Quoted:
    """Return YAML text of an alert's annotation, in which ``{{`` begins a template.

    Source: https://prometheus.io/docs/prometheus/latest/configuration/template_reference
    """
    return yaml(value.replace(_TEMPLATE_ACTION, '{{ "{{" }}'))


def shell(value: str) -> Quoted:
    """Return one word of a POSIX shell's command line."""
    return Quoted(shlex.quote(check_text(value)))


FILTERS: Mapping[str, Callable[..., Quoted]] = {
    function.__name__: function
    for function in (
        annotation,
        comment,
        compose,
        kubernetes_argument,
        nginx,
        plain,
        shell,
        systemd_argument,
        systemd_text,
        systemd_word,
        yaml,
    )
}
"""The functions by the names that templates know."""
