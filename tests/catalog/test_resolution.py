"""References: what each form means, and what is said when nothing fits."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelvault.catalog.catalog import Catalog
from modelvault.core.names import DigestStart, Reference, parse_reference
from modelvault.errors import ArtifactNotFound, BadReference
from tests.catalog.place import (
    COMMIT_A,
    COMMIT_B,
    Place,
    add,
    artifact,
    converted,
    event,
    find,
    manifest,
    new_paths,
)

_HEX = st.text("0123", min_size=40, max_size=40)


def test_no_variant_means_the_source(catalog: Catalog) -> None:
    """A conversion never stands in for what was pulled."""
    source = add(catalog, artifact())
    files = manifest("q4")
    small = add(catalog, converted(source, "Q4_K_M", files), files)
    assert find(catalog, "org/name") == source
    assert find(catalog, "org/name:Q4_K_M") == small


def test_no_revision_means_the_newest_that_has_the_variant(catalog: Catalog) -> None:
    """A conversion of an older revision is found although a newer source came since."""
    old = add(catalog, artifact())
    new = add(catalog, artifact(commit=COMMIT_B))
    files = manifest("q4")
    small = add(catalog, converted(old, "Q4_K_M", files), files)
    assert find(catalog, "org/name") == new
    assert find(catalog, "org/name:Q4_K_M") == small
    smaller = add(catalog, converted(new, "Q4_K_M", files), files)
    assert find(catalog, "org/name:Q4_K_M") == smaller


def test_newer_artifact_of_the_same_revision_wins(catalog: Catalog) -> None:
    """A second conversion with other tools replaces the first in references."""
    add(catalog, artifact(card={"language": "en"}))
    second = add(catalog, artifact(card={"language": "ko"}))
    assert find(catalog, f"org/name@{COMMIT_A}") == second


def test_digest_or_its_start_names_one_artifact(catalog: Catalog) -> None:
    """Of two that look alike in every other way, too; a manifest's digest serves as well."""
    first = add(catalog, artifact(card={"language": "en"}))
    second = add(catalog, artifact(card={"language": "ko"}))
    for item in (first, second):
        for text in (str(item.digest), item.digest.hex, item.digest.hex[:12].upper()):
            assert catalog.find(parse_reference(text)).artifact == item
    files = manifest("q4")
    small = add(catalog, converted(first, "Q4_K_M", files), files)
    assert catalog.find(parse_reference(files.digest.hex[:16])).artifact == small


def test_ambiguous_start_of_a_digest_is_refused_and_listed(catalog: Catalog) -> None:
    """Each artefact that it may mean stands there with its whole digest and its name."""
    files = manifest("same")
    first = add(catalog, artifact(files, card={"language": "en"}), files)
    second = add(catalog, artifact(files, commit=COMMIT_B), files)
    with pytest.raises(BadReference, match="2 artefacts") as caught:
        catalog.find(DigestStart(files.digest.hex[:12]))
    assert caught.value.issues == (
        f"{first.digest}  org/name@{COMMIT_A}",
        f"{second.digest}  org/name@{COMMIT_B}",
    )


def test_unknown_start_of_a_digest_names_nothing(catalog: Catalog) -> None:
    """The hint says where digests are to be seen."""
    add(catalog, artifact())
    with pytest.raises(ArtifactNotFound, match="begins with 00000000") as caught:
        catalog.find(DigestStart("00000000"))
    assert "modelvault list" in caught.value.hint


def test_every_artifact_that_a_name_fits_is_found(catalog: Catalog) -> None:
    """Newest first: all revisions where none is named, all records of one."""
    old = add(catalog, artifact())
    new = add(catalog, artifact(commit=COMMIT_B))
    again = add(catalog, artifact(commit=COMMIT_B, card={"language": "ko"}))

    def found(text: str) -> list[object]:
        return [item.artifact for item in catalog.find_all(parse_reference(text))]

    assert found("org/name") == [again, new, old]
    assert found(f"org/name@{COMMIT_B}") == [again, new]
    assert found("org/name@main") == [again, new]
    assert found(old.digest.hex[:12]) == [old]


@pytest.mark.parametrize("revision", ["main", COMMIT_A, "aaaa", "a" * 39])
def test_revision_is_label_commit_or_prefix(catalog: Catalog, revision: str) -> None:
    """Every way to name a revision leads to it."""
    item = add(catalog, artifact())
    add(catalog, artifact(commit=COMMIT_B, requested="dev"))
    assert find(catalog, f"org/name@{revision}") == item


@pytest.mark.parametrize("revision", ["aaa", "AAAA", "aaab", "v1", "b" * 40, "a" * 41, "a_a_"])
def test_revision_that_is_not_there_is_named_with_what_is(catalog: Catalog, revision: str) -> None:
    """Too short, upper-case and unknown prefixes fit nothing; wildcards are plain text."""
    add(catalog, artifact())
    with pytest.raises(ArtifactNotFound, match=revision) as caught:
        find(catalog, f"org/name@{revision}")
    assert caught.value.hint == "there are main, aaaaaaaaaaaa"


def test_ambiguous_prefix_is_refused(catalog: Catalog) -> None:
    """Two commits with one beginning: the user has to say which."""
    first = "abcd" + "0" * 36
    second = "abcd" + "1" * 36
    add(catalog, artifact(commit=first))
    wanted = add(catalog, artifact(commit=second))
    with pytest.raises(BadReference, match="begins 2 commits") as caught:
        find(catalog, "org/name@abcd")
    assert first in caught.value.hint
    assert find(catalog, "org/name@abcd1") == wanted


def test_label_of_one_model_does_not_answer_for_another(catalog: Catalog) -> None:
    """Labels and commits belong to their model."""
    add(catalog, artifact(requested="v1"))
    add(catalog, artifact(model="org/other", commit=COMMIT_B))
    for reference in ("org/other@v1", "org/other@aaaa"):
        with pytest.raises(ArtifactNotFound):
            find(catalog, reference)


def test_empty_vault_says_so(catalog: Catalog) -> None:
    """The first command of a new user gets a way on."""
    with pytest.raises(ArtifactNotFound, match="org/name") as caught:
        find(catalog, "org/name")
    assert "pull or import" in caught.value.hint


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [
        ("org/nmae", "did you mean org/name?"),
        ("ORG/NAME", "did you mean org/name?"),
        ("else/name", "did you mean org/name?"),
        ("zzz/qqqqqqqq", "'modelvault list' shows what there is"),
    ],
)
def test_unknown_model_suggests_near_names(catalog: Catalog, wanted: str, hint: str) -> None:
    """Typing errors, other case and another organisation are recognised."""
    add(catalog, artifact())
    with pytest.raises(ArtifactNotFound) as caught:
        find(catalog, wanted)
    assert caught.value.hint == hint


def test_unknown_variant_lists_those_there_are(catalog: Catalog) -> None:
    """The hint holds references that can be pasted."""
    source = add(catalog, artifact())
    files = manifest("q4")
    add(catalog, converted(source, "Q4_K_M", files), files)
    with pytest.raises(ArtifactNotFound) as caught:
        find(catalog, "org/name@main:Q8_0")
    assert caught.value.hint == "there is org/name@main, org/name@main:Q4_K_M"


def test_variant_of_another_revision_is_pointed_out(catalog: Catalog) -> None:
    """The branch moved on since the conversion."""
    source = add(catalog, artifact())
    files = manifest("q4")
    add(catalog, converted(source, "Q4_K_M", files), files)
    add(catalog, artifact(commit=COMMIT_B))
    with pytest.raises(ArtifactNotFound) as caught:
        find(catalog, "org/name@main:Q4_K_M")
    assert "another revision" in caught.value.hint


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(commits=st.lists(_HEX, min_size=1, max_size=8, unique=True), cut=st.integers(4, 40))
def test_prefix_finds_its_only_commit_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, commits: list[str], cut: int
) -> None:
    """A prefix is accepted exactly when one commit begins with it."""
    root: Path = tmp_path_factory.mktemp("vault")
    with Place(paths=new_paths(root), url=None).open() as catalog:
        items = [artifact(commit=commit) for commit in commits]
        catalog.add_artifacts([(item, manifest()) for item in items], event=event())
        for item in items:
            prefix = item.revision[:cut]
            reference = Reference(model=item.model, revision=prefix)
            if sum(commit.startswith(prefix) for commit in commits) > 1:
                with pytest.raises(BadReference):
                    catalog.find(reference)
            else:
                assert catalog.find(reference).artifact == item
