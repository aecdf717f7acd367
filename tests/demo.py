"""The whole journey on one screen, as ``make demo`` runs it.

A loopback hub serves a tiny Llama with a trained tokenizer. The connected site pulls it
(killed once with SIGKILL in the middle), converts it and exports a signed bundle. The
closed site, in a network namespace without a network where the system allows one, refuses
the bundle, trusts the key, imports, installs, and llama.cpp generates from the installed
blob. Every step is a real command; the script fails at the first that does not do what it
should.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.command import Outcome, Site
from tests.support.hub.faults import Fault, Kind
from tests.support.hub.hub import LoopbackHub
from tests.support.hub.repository import read_folder
from tests.support.tinymodel import make_tiny_llama

MODEL = "acme/Tiny-Llama"
PROMPT = "The vault"
_KILL_AFTER = 40_000_000


def main() -> None:
    """Run the journey."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="modelvault-demo-") as folder:
        _journey(Path(folder))
    _say(f"\nthe whole journey took {time.monotonic() - started:.0f} s")


def _journey(folder: Path) -> None:
    usb = folder / "usb"
    _say("# a loopback hub serves a tiny Llama with a trained tokenizer (96 MB)")
    make_tiny_llama(folder / "model", hidden=1024, intermediate=2816, layers=4, shards=2)
    with LoopbackHub() as hub:
        hub.add(MODEL, read_folder(folder / "model"))
        connected = Site(folder / "connected", HF_ENDPOINT=hub.endpoint)
        _pull_with_a_kill(connected, hub)
    _step(connected, "verify")
    _step(connected, "convert", MODEL, "--to", "gguf:Q4_K_M", "--to", "gguf:F16")
    _step(connected, "list")
    exported = _step(connected, "export", "--bundle", usb, "--volume-size", "20MB", tail=4)
    fingerprint = _search(r"SHA256:\S+", exported.stdout)

    prefix, network = _without_network()
    _say(f"\n# the closed site: {network}")
    closed = Site(folder / "closed", prefix=prefix)
    _step(closed, "import", usb, expect=5)
    _step(closed, "trust", "add", usb, "--fingerprint", fingerprint)
    _step(closed, "bundle", "verify", usb)
    _step(closed, "import", usb)
    store = closed.home / "ollama"
    _step(closed, "install", f"{MODEL}:Q4_K_M", "--to", "ollama", "--dir", store, tail=2)
    _step(closed, "install", MODEL, "--to", "vllm", "--dir", closed.home / "models", tail=2)
    _step(closed, "status")
    _step(closed, "history", tail=3)
    blob = max((store / "blobs").glob("sha256-*"), key=lambda path: path.stat().st_size)
    _say(f"\n# llama.cpp reads the installed blob {blob.name[:19]}… and goes on from {PROMPT!r}:")
    _say(f"{_generate(prefix, blob)!r}  (random weights: words, no sense)")


def _pull_with_a_kill(site: Site, hub: LoopbackHub) -> None:
    def half_way() -> bool:
        return hub.journal.sent() > _KILL_AFTER

    hub.faults.add(Fault(kind=Kind.SLOW, rate=8_000_000, times=None))
    if not site.kill_when(half_way, "pull", MODEL):
        sys.exit("the pull ended before it could be killed")
    _say(f"\n$ modelvault pull {MODEL}\n(kill -9 after {hub.journal.sent() / 1e6:.0f} MB)")
    hub.faults.clear()
    before = hub.journal.sent()
    _step(site, "pull", MODEL)
    fetched = hub.journal.sent() - before
    _say(f"(the second run fetched the missing {fetched / 1e6:.0f} MB)")


def _step(site: Site, *arguments: str | Path, expect: int = 0, tail: int = 12) -> Outcome:
    words = " ".join(map(str, arguments))
    _say(f"\n$ modelvault {words.replace(str(site.home.parent), '…')}")
    outcome = site.run("--quiet", *arguments)
    lines = (outcome.stdout + outcome.stderr).strip().splitlines()
    for line in lines[-tail:]:
        _say("  " + line.replace(str(site.home.parent), "…"))
    if outcome.status != expect:
        sys.exit(f"expected exit status {expect}, got {outcome.status}")
    if expect:
        _say(f"  (exit status {outcome.status})")
    return outcome


def _without_network() -> tuple[list[str], str]:
    unshare = shutil.which("unshare")
    for options in (["-n"], ["-rn"]):
        if unshare and subprocess.call([unshare, *options, "true"], stderr=subprocess.DEVNULL) == 0:
            return [unshare, *options], "a network namespace without any network"
    return [], "this system allows no network namespace; the commands still use no network"


def _generate(prefix: list[str], blob: Path) -> str:
    program = (
        "import pathlib, sys; from tests.support.llamacpp import Model\n"
        "with Model.load(pathlib.Path(sys.argv[1])) as model:\n"
        "    print(model.text(model.generate(model.tokenize(sys.argv[2]), 16)))"
    )
    done = subprocess.run(
        [*prefix, sys.executable, "-c", program, str(blob), PROMPT],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"llama.cpp failed:\n{done.stderr[-2000:]}")
    return done.stdout.strip()


def _search(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        sys.exit(f"no {pattern} in the output")
    return found[0]


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
