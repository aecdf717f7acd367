"""Lists of checksums: every spelling that is in use, and what strangers may write into one."""

import re
import shutil
import subprocess
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelvault.core import sums
from modelvault.core.digest import Digest
from modelvault.core.sums import SumsUrl, parse_sums
from modelvault.errors import BadOption, SourceError

WHERE = SumsUrl.parse("https://files.example/models/tiny/SHA256SUMS")
A, B = Digest.of(b"a"), Digest.of(b"b")


def parsed(text: str | bytes) -> dict[str, Digest]:
    """Return the files that a list names."""
    data = text.encode() if isinstance(text, str) else text
    return dict(parse_sums(data, where=WHERE).files)


@pytest.mark.parametrize(
    "line",
    [
        f"{A.hex}  config.json",
        f"{A.hex} *config.json",
        f"{A.hex.upper()}  config.json",
        f"{A.hex}  ./config.json",
        f"{A.hex}\tconfig.json",
        f"SHA256 (config.json) = {A.hex}",
        f"SHA256(config.json)= {A.hex}",
        f"SHA2-256(config.json)= {A.hex.upper()}",
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_every_spelling_in_use_names_the_same_file(line: str, end: str) -> None:
    """Coreutils as text, binary and tagged, shasum, OpenSSL; line ends of every system."""
    assert parsed(line + end) == {"config.json": A}


def test_comments_and_blank_lines_say_nothing() -> None:
    """Nor does a mark of byte order at the beginning."""
    text = f"\ufeff# made by hand\n\n{A.hex}  a\r\n   \n#{B.hex}  b\n"
    assert parsed(text) == {"a": A}


def test_escaped_name_is_unescaped_and_left_to_the_check_of_paths() -> None:
    """Attack: a name with a line break in it; it must not pass as two lines or another name."""
    text = f"\\{A.hex}  a\\nb\n\\SHA256 (c\\\\d\\r) = {B.hex}\n{A.hex}  e\\nf\n"
    assert parsed(text) == {"a\nb": A, "c\\d\r": B, "e\\nf": A}


def test_names_outside_ascii_keep_their_letters() -> None:
    """A list is UTF-8; other bytes survive as what no path may hold."""
    assert parsed(f"{A.hex}  ünï code.json\n") == {"ünï code.json": A}
    assert parsed(A.hex.encode() + b"  caf\xe9\n") == {"caf\udce9": A}


def test_the_list_passes_over_itself() -> None:
    """``sha256sum * > SHA256SUMS`` gives the checksum of a file that was still empty."""
    assert parsed(f"{A.hex}  a\n{Digest.of(b'').hex}  SHA256SUMS\n") == {"a": A}
    assert parsed(f"{A.hex}  old/SHA256SUMS\n") == {"old/SHA256SUMS": A}


def test_name_given_twice_must_have_one_checksum() -> None:
    """Attack: two checksums, of which a reader might take either."""
    assert parsed(f"{A.hex}  a\n{A.hex} *./a\n") == {"a": A}
    with pytest.raises(SourceError, match="another checksum already") as caught:
        parsed(f"{A.hex}  a\n{B.hex}  ./a\n{B.hex}  a\n")
    assert len(caught.value.issues) == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        f"{A.hex}\n",
        f"{A.hex[:40]}  a\n",
        f"SHA512 (a) = {A.hex * 2}\n",
        f"MD5 (a) = {A.hex[:32]}\n",
        "-----BEGIN PGP SIGNED MESSAGE-----\n",
        f"{A.hex}  " + "a" * 10_000,
        "\0" * 1000,
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """Other algorithms, signed messages, half lines: nothing is guessed."""
    with pytest.raises(SourceError):
        parsed(text)


def test_login_page_is_called_a_web_page() -> None:
    """Servers answer 200 with a form: the hint speaks of a login, not of sha256sum."""
    with pytest.raises(SourceError, match="a web page") as caught:
        parsed("<!DOCTYPE html>\n<title>Log in</title>\n")
    assert "login" in caught.value.hint


def test_issues_are_bounded_and_lists_are_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack: a list without end, and one in which every line is wrong."""
    with pytest.raises(SourceError) as caught:
        parsed("x\n" * 5000)
    assert len(caught.value.issues) == 100
    monkeypatch.setattr(sums, "MOST_FILES", 2)
    assert len(parsed(f"{A.hex}  a\n{A.hex}  b\n")) == 2
    with pytest.raises(SourceError, match="more than 2 files"):
        parsed(f"{A.hex}  a\n{A.hex}  b\n{A.hex}  c\n")
    monkeypatch.setattr(sums, "_MOST_LINES", 10)
    with pytest.raises(SourceError, match="longer than"):
        parsed("\n" * 10 + f"{A.hex}  a\n")
    monkeypatch.setattr(sums, "SUMS_LIMIT", 10)
    with pytest.raises(SourceError, match="longer than 10 bytes"):
        parsed(f"{A.hex}  a\n")


def test_same_files_have_the_same_revision_however_they_are_listed() -> None:
    """Order, form and comments change the list's digest, and not what it stands for."""
    one = parse_sums(f"{A.hex}  a\n{B.hex}  b/c\n".encode(), where=WHERE)
    other = parse_sums(f"#\r\nSHA256 (./b/c) = {B.hex}\r\n{A.hex} *a".encode(), where=WHERE)
    assert one.revision == other.revision
    assert one.digest != other.digest
    assert parse_sums(f"{A.hex}  a\n".encode(), where=WHERE).revision != one.revision
    assert re.fullmatch("[0-9a-f]{40}", one.revision)


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs coreutils")
@pytest.mark.parametrize("options", [[], ["--binary"], ["--tag"]])
def test_what_sha256sum_writes_is_read(tmp_path: Path, options: list[str]) -> None:
    """The real program, names that it escapes included."""
    for name, data in (("b", b"b"), ("a", b"a"), ("ünï code", b"a"), ("line\nbreak", b"b")):
        (tmp_path / name).write_bytes(data)
    command = ["sha256sum", *options, "b", "a", "ünï code", "line\nbreak"]
    data = subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.PIPE).stdout
    found = parse_sums(data, where=WHERE)
    assert found.files == {"a": A, "b": B, "ünï code": A, "line\nbreak": B}


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs coreutils")
@pytest.mark.parametrize("options", [[], ["--binary"]])
def test_guide_s_commands_make_a_list_and_compute_its_revision(
    tmp_path: Path, options: list[str]
) -> None:
    """An operator needs coreutils alone, and the lines of the guide as they are printed."""
    for name in ("b.json", "a.gguf", "sub/ünï code", "sub/a"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "pull.md").read_text("utf-8")
    (make,) = re.findall(r"^    cd models/foo && (find .*)$", guide, re.MULTILINE)
    (compute,) = re.findall(r"^    (sed .*sha256sum .*)$", guide, re.MULTILINE)
    run = partial(subprocess.check_output, cwd=tmp_path, shell=True, text=True)
    run(make.replace("sha256sum", " ".join(["sha256sum", *options])))
    found = parse_sums((tmp_path / "SHA256SUMS").read_bytes(), where=WHERE)
    assert sorted(found.files) == ["a.gguf", "b.json", "sub/a", "sub/ünï code"]
    assert run(compute).strip() == found.revision


@given(st.binary(max_size=300))
def test_whatever_comes_is_a_list_or_refused(data: bytes) -> None:
    """Attack: arbitrary bytes; nothing but the error of a bad answer comes out."""
    try:
        found = parse_sums(data, where=WHERE)
    except SourceError:
        return
    assert found.files


@given(st.dictionaries(st.text(min_size=1, max_size=40), st.binary(max_size=4), max_size=6))
def test_what_coreutils_would_write_is_read_back(contents: dict[str, bytes]) -> None:
    """Every name comes back as it was, its line breaks escaped as coreutils escape them."""
    table = {
        name: Digest.of(data)
        for name, data in contents.items()
        if name.encode("utf-8", "replace").decode() == name and not name.startswith(("./", "*"))
        if name[0] not in " \t" and name != WHERE.name
    }
    lines = []
    for name, digest in table.items():
        quoted = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        mark = "" if quoted == name else "\\"
        lines.append(f"{mark}{digest.hex}  {quoted}\n")
    if table:
        assert parsed("".join(lines)) == table


# -- where a list is


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://Files.Example/a/SHA256SUMS", "https://files.example/a/SHA256SUMS"),
        ("HTTPS://files.example:443/SHA256SUMS", "https://files.example/SHA256SUMS"),
        ("http://files.example:80/s", "http://files.example/s"),
        ("https://files.example:8443/a%20b/s", "https://files.example:8443/a%20b/s"),
        ("https://[::1]:8443/s", "https://[::1]:8443/s"),
    ],
)
def test_address_is_recorded_in_one_spelling(text: str, url: str) -> None:
    """Scheme and host in lower case, a port only where it says something."""
    assert str(SumsUrl.parse(text)) == url
    assert SumsUrl.parse(url) == SumsUrl.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "ftp://files.example/SHA256SUMS",
        "https:///SHA256SUMS",
        "https://files.example",
        "https://files.example/",
        "https://files.example/models/",
        "https://files.example/a/../SHA256SUMS",
        "https://files.example/a/%2e%2e/SHA256SUMS",
        "https://files.example/a//SHA256SUMS",
        "https://files.example/SHA256SUMS?token=hush",
        "https://files.example/SHA256SUMS#x",
        "https://ann:hush@files.example/SHA256SUMS",
        "https://files.example:0/SHA256SUMS",
        "https://files.example:99999/SHA256SUMS",
        "https://files.example/caf\u00e9/SHA256SUMS",
        "https://files.example/a b/SHA256SUMS",
        "https://files.example/a\nb/SHA256SUMS",
        "https://files.example/" + "a" * 3000,
    ],
)
def test_address_that_is_none_is_refused_and_no_secret_is_quoted(text: str) -> None:
    """What is recorded names a file on a web server and nothing else."""
    with pytest.raises(BadOption) as caught:
        SumsUrl.parse(text)
    assert "hush" not in str(caught.value) + caught.value.hint


def test_files_stand_beside_the_list_on_its_own_server() -> None:
    """Names are percent-encoded, so that none of them can lead to another place."""
    assert WHERE.url_of("a b/ü?#%.json") == (
        "https://files.example/models/tiny/a%20b/%C3%BC%3F%23%25.json"
    )
    assert WHERE.url_of("//evil.example/x").startswith("https://files.example/models/tiny/")
