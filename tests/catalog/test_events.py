"""The log: append-only, chained, unbroken under concurrency, honest after tampering."""

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelvault.catalog.catalog import Catalog
from modelvault.catalog.events import GENESIS, printable
from modelvault.catalog.values import Actor, ChainHead, Event, RecordedEvent
from modelvault.core import canonical
from modelvault.core.digest import Digest
from modelvault.errors import CatalogDamaged
from tests.catalog.place import START, Place, add, artifact, event, manifest, new_paths

REPOSITORY = Path(__file__).parents[2]

_COPY = (
    "INSERT INTO events SELECT {}, time, actor, host, verb, subject, details, hash "
    "FROM events WHERE sequence = 1"
)

_WRITER = """
import sys
from pathlib import Path
from modelvault.catalog.catalog import Catalog
from modelvault.catalog.values import Event
from modelvault.store.paths import VaultPaths
with Catalog.open(VaultPaths(Path(sys.argv[1])), url=sys.argv[2] or None) as catalog:
    for number in range(int(sys.argv[3])):
        catalog.record(Event(verb="check", subject=f"{sys.argv[4]} {number}"))
"""


def writer(place: Place, count: int, name: str) -> "subprocess.Popen[bytes]":
    """Start a process that opens the catalogue and appends events."""
    command = [sys.executable, "-c", _WRITER, str(place.paths.root), place.url or ""]
    return subprocess.Popen([*command, str(count), name], cwd=REPOSITORY)


def test_event_is_recorded_with_actor_host_and_time(catalog: Catalog) -> None:
    """What the caller tells comes back with what the catalogue adds."""
    head = catalog.record(event("trust", "SHA256:abc", how="asked"))
    assert list(catalog.history()) == [
        RecordedEvent(
            sequence=1,
            time=START,
            actor="ann",
            host="bastion",
            verb="trust",
            subject="SHA256:abc",
            details={"how": "asked"},
            hash=head.hash,
        )
    ]
    assert catalog.chain_head() == head


def test_hash_is_the_documented_one(catalog: Catalog) -> None:
    """The permanent vector of event/v1: whoever reads the document can recompute it."""
    head = catalog.record(event("trust", "SHA256:abc", how="asked"))
    record = (
        b'{"_type":"modelvault/event/v1","actor":"ann","details":{"how":"asked"},'
        b'"host":"bastion","previous":"' + b"0" * 64 + b'","sequence":1,'
        b'"subject":"SHA256:abc","time":"2030-01-02T03:04:05.678901Z","verb":"trust"}'
    )
    assert head == ChainHead(sequence=1, hash=Digest.of(record))
    assert head.hash.hex == "158431b936dfc5cf1cd07369c5cbc4087b7b794491f7ae85ebe411afb93fcad3"


def test_empty_log_is_intact(catalog: Catalog) -> None:
    """Nothing happened, nothing is wrong."""
    assert catalog.verify_history() == 0
    assert catalog.chain_head() == GENESIS
    assert list(catalog.history()) == []


def test_history_of_a_model_includes_revisions_and_variants_only(catalog: Catalog) -> None:
    """Names that merely begin alike, or match as wildcards, are other models."""
    mine = ["org/a_b", "org/a_b@main", "org/a_b:Q4_K_M"]
    for subject in [*mine, "org/a_bc", "org/axb@main", "org/a_b/x"]:
        catalog.record(event("pull", subject))
    assert [item.subject for item in catalog.history("org/a_b")] == mine
    assert [item.subject for item in catalog.history("org/a_b@main")] == ["org/a_b@main"]


def test_long_history_comes_out_whole(catalog: Catalog) -> None:
    """Paging neither repeats nor drops an event."""
    items = [(artifact(commit=f"{number:040x}"), manifest()) for number in range(1_010)]
    catalog.add_artifacts(items, event=event("import"))
    assert [item.sequence for item in catalog.history()] == list(range(1, 1_012))
    assert catalog.verify_history() == 1_011


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET actor = 'eve' WHERE sequence = 1",
        "DELETE FROM events WHERE sequence = 2",
        "DELETE FROM events",
    ],
)
def test_attack_change_of_the_log_is_refused_by_the_database(
    catalog: Catalog, place: Place, statement: str
) -> None:
    """Triggers stop whoever has SQL but does not think of them."""
    catalog.record(event())
    catalog.record(event())
    with pytest.raises((sqlite3.IntegrityError, psycopg.IntegrityError), match="append-only"):
        place.run(statement)
    assert catalog.verify_history() == 2


def test_attack_replacing_an_event_is_refused_by_sqlite(lite: Place) -> None:
    """INSERT OR REPLACE fires no delete trigger; it is refused all the same."""
    with lite.open() as catalog:
        catalog.record(event())
        catalog.record(event())
        for verb in ("INSERT OR REPLACE", "INSERT OR IGNORE", "REPLACE"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                lite.run(f"{verb} INTO events SELECT 1, time, 'eve', host, verb, subject, "
                         "details, hash FROM events WHERE sequence = 1")  # fmt: skip
        assert catalog.verify_history() == 2


def test_attack_truncation_is_refused_by_postgresql(server: Place) -> None:
    """TRUNCATE fires no row trigger; it has its own."""
    with server.open() as catalog:
        catalog.record(event())
        with pytest.raises(psycopg.IntegrityError, match="append-only"):
            server.run("TRUNCATE events")
        assert catalog.verify_history() == 1


@pytest.mark.parametrize(
    ("statement", "first_broken"),
    [
        ("UPDATE events SET actor = 'eve' WHERE sequence = 2", 2),
        ("UPDATE events SET details = '{}' WHERE sequence = 3", 3),
        ("UPDATE events SET details = 'x' WHERE sequence = 3", 3),
        ("UPDATE events SET details = '{\"a\":1}' WHERE sequence = 3", 3),
        ("UPDATE events SET time = '2029-01-02T03:04:05.678901Z' WHERE sequence = 1", 1),
        ("UPDATE events SET hash = 'x' WHERE sequence = 2", 2),
        ("UPDATE events SET sequence = 9 WHERE sequence = 4", 4),
        ("DELETE FROM events WHERE sequence = 1", 1),
        ("DELETE FROM events WHERE sequence IN (2, 3)", 2),
        (_COPY.format(0), 1),
        (_COPY.format(5), 5),
    ],
)
def test_attack_tampering_without_triggers_names_the_first_broken_event(
    catalog: Catalog, place: Place, statement: str, first_broken: int
) -> None:
    """Whoever drops the triggers is betrayed by the chain."""
    for number in range(4):
        catalog.record(event("pull", f"org/{number}", n=str(number)))
    place.drop_guards()
    place.run(statement)
    with pytest.raises(CatalogDamaged, match=rf"event {first_broken} "):
        catalog.verify_history()


def test_attack_log_cut_short_shows_against_an_anchor(catalog: Catalog, place: Place) -> None:
    """The last events can be dropped without a trace in the chain, but not in a kept head."""
    catalog.record(event())
    anchor = catalog.record(event())
    catalog.record(event())
    assert catalog.verify_history(anchor=anchor) == 3
    place.drop_guards()
    place.run("DELETE FROM events WHERE sequence > 1")
    assert catalog.verify_history() == 1
    with pytest.raises(CatalogDamaged, match="does not contain event 2"):
        catalog.verify_history(anchor=anchor)


def test_attack_rewritten_log_shows_against_an_anchor(catalog: Catalog, place: Place) -> None:
    """A forged chain that is consistent in itself does not contain the kept head."""
    anchor = catalog.record(event("pull", "org/evil"))
    place.drop_guards()
    place.run("DELETE FROM events")
    catalog.record(event("pull", "org/good"))
    assert catalog.verify_history() == 1
    with pytest.raises(CatalogDamaged, match="does not contain event 1"):
        catalog.verify_history(anchor=anchor)


def test_attack_unreadable_event_is_damage_not_a_crash(catalog: Catalog, place: Place) -> None:
    """Nonsense in the table ends as an error of ours, on either way of reading."""
    catalog.record(event())
    place.drop_guards()
    place.run("UPDATE events SET time = 'yesterday'")
    with pytest.raises(CatalogDamaged, match="yesterday"):
        list(catalog.history())
    with pytest.raises(CatalogDamaged, match="event 1"):
        catalog.verify_history()


def test_attack_bytes_in_a_text_column_are_damage(lite: Place) -> None:
    """SQLite keeps anything anywhere; what is not UTF-8 is reported as damage."""
    with lite.open() as catalog:
        catalog.record(event())
        lite.drop_guards()
        for value in ("x'ff00'", "CAST(x'ff' AS TEXT)", "7", "2.5"):
            lite.run(f"UPDATE events SET actor = {value}")
            with pytest.raises(CatalogDamaged):
                catalog.verify_history()


def test_threads_append_one_unbroken_chain(catalog: Catalog) -> None:
    """Writers of one process wait for each other."""
    failures: list[BaseException] = []

    def work(name: int) -> None:
        try:
            for number in range(20):
                catalog.record(event("check", f"{name} {number}"))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert catalog.verify_history() == 80


def test_processes_append_one_unbroken_chain_from_first_use(place: Place) -> None:
    """Several processes make the schema and write to it at once; none fails."""
    writers = [writer(place, 15, f"writer{number}") for number in range(4)]
    assert [process.wait(timeout=120) for process in writers] == [0] * 4
    with place.open() as catalog:
        assert catalog.verify_history() == 60
        assert len({item.subject for item in catalog.history()}) == 60


def test_changes_and_events_of_two_catalogs_interleave(catalog: Catalog, place: Place) -> None:
    """Two open catalogues see each other's commits."""
    with place.open() as other:
        add(catalog, artifact())
        add(other, artifact())
        assert other.record(event()).sequence == 3
    assert catalog.verify_history() == 3


def test_default_actor_is_the_account_not_the_environment(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name set in the environment does not get into the log."""
    monkeypatch.setenv("LOGNAME", "eve")
    monkeypatch.setenv("USER", "eve")
    with Catalog.open(place.paths, url=place.url) as catalog:
        catalog.record(event())
        assert next(catalog.history()).actor == Actor.current().name != "eve"


def test_attack_odd_text_is_recorded_printable(catalog: Catalog) -> None:
    """Null characters, surrogates, escapes and endless text cannot stop or spoil the log."""
    odd = Event(
        verb="pu\x00ll",
        subject="\udcff\x1b[2J" + "x" * 9_000,
        details={"pa\x00th": "\u202e" + "y" * 9_000, **{str(n): "" for n in range(500)}},
    )
    catalog.record(odd)
    assert catalog.verify_history() == 1
    recorded = next(catalog.history())
    assert recorded.verb == r"pu\x00ll"
    assert recorded.subject.startswith(r"\udcff\x1b[2Jxxx")
    assert len(recorded.subject) == 512
    assert recorded.details[r"pa\x00th"].startswith(r"\u202eyyy")
    assert len(recorded.details) == 256


@given(text=st.text(), longest=st.integers(1, 60))
def test_printable_text_is_bounded_stable_and_encodable(text: str, longest: int) -> None:
    """Whatever goes in, the result fits, shows, and stays as it is when done again."""
    shown = printable(text, longest)
    assert len(shown) <= longest
    assert printable(shown, longest) == shown
    canonical.encode(shown)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A vault for all examples of a property: a new one for each would take too long."""
    return Place(paths=new_paths(tmp_path_factory.mktemp("shared")), url=None)


@settings(deadline=None)
@given(
    details=st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=5),
    subject=st.text(min_size=1, max_size=40),
)
def test_any_event_keeps_the_chain_intact(
    shared: Place, details: dict[str, str], subject: str
) -> None:
    """No text a caller may pass breaks what verification recomputes."""
    with shared.open() as catalog:
        before = catalog.chain_head()
        head = catalog.record(Event(verb="check", subject=subject, details=details))
        assert catalog.verify_history(anchor=before) == head.sequence
