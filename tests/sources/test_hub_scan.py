"""What the Hub's scanner says, and quantisations by name: understood, or unknown."""

from fnmatch import fnmatchcase

import pytest

from modelvault.core.digest import Digest
from modelvault.sources.fetch.file import OfferedFile
from modelvault.sources.hub.scan import read_scan
from modelvault.sources.quantizations import group_quantizations


def test_scan_in_words() -> None:
    """Nothing found, something found, not finished."""
    finding = {"path": "a.bin", "level": "unsafe"}
    assert read_scan({"scansDone": True, "filesWithIssues": []}).summary == "no findings"
    found = read_scan({"scansDone": False, "filesWithIssues": [finding]})
    assert found.summary == "findings in a.bin (unsafe); not all files are scanned yet"
    assert found.files == {"a.bin": "unsafe"}
    many = [{"path": f"{n}", "level": "unsafe"} for n in range(9)]
    assert read_scan({"scansDone": True, "filesWithIssues": many}).summary.endswith("and 6 more")


@pytest.mark.parametrize(
    "status",
    [
        None,
        "fine",
        {},
        {"scansDone": "yes", "filesWithIssues": []},
        {"scansDone": True},
        {"scansDone": True, "filesWithIssues": {}},
    ],
)
def test_attack_with_a_status_of_another_shape_is_unknown_never_safe(status: object) -> None:
    """What cannot be understood is no verdict."""
    assert read_scan(status).summary == ""


def test_attack_with_hostile_findings_cannot_reach_the_terminal() -> None:
    """Control characters and other types are dropped."""
    listed = [{"path": "a\x1b[31m", "level": "x" * 999}, {"path": 1}, 7, None]
    found = read_scan({"scansDone": True, "filesWithIssues": listed})
    assert list(found.files) == ["a [31m"]
    assert len(found.files["a [31m"]) == 32
    assert found.summary.isprintable()


NAMES = [
    "m-Q4_K_M.gguf",
    "m-Q4_K_S.gguf",
    "m-IQ4_XS.gguf",
    "m-Q8_0/m-Q8_0-00001-of-00002.gguf",
    "m-Q8_0/m-Q8_0-00002-of-00002.gguf",
    "m-F16.gguf",
    "m-BF16.gguf",
    "m-Q3_K.gguf",
    "m-Q3_K_L.gguf",
    "mmproj-F16.gguf",
    "README.md",
]


def test_each_pattern_takes_its_own_quantisation_and_no_other() -> None:
    """F16 is not BF16, Q3_K is not Q3_K_L; shards stay together, projectors are in none."""
    files = [
        OfferedFile(path=name, size=len(name) * 10, checksum=Digest.of(name.encode()))
        for name in NAMES
    ]
    groups = {group.label: group for group in group_quantizations(files)}
    assert set(groups) == {
        "Q4_K_M", "Q4_K_S", "IQ4_XS", "Q8_0", "F16", "BF16", "Q3_K", "Q3_K_L"
    }  # fmt: skip
    models = [name for name in NAMES if not name.startswith("mmproj")]
    for group in groups.values():
        taken = [name for name in models if fnmatchcase(name, group.include)]
        assert tuple(sorted(taken)) == group.files
    assert groups["Q8_0"].size == sum(len(name) * 10 for name in NAMES if "Q8_0" in name)
    sizes = [group.size or 0 for group in group_quantizations(files)]
    assert sizes == sorted(sizes)


def test_label_spelled_in_two_ways_is_one_quantisation() -> None:
    """The pattern covers both spellings."""
    files = [OfferedFile(path=name, size=1) for name in ("a-q8_0.gguf", "b-Q8_0.gguf")]
    (group,) = group_quantizations(files)
    assert all(fnmatchcase(path, group.include) for path in group.files)
    assert len(group.files) == 2
