"""llama.cpp's server as a process of its own, started with the options that we write for it.

The program ``llama-server`` is in no package of Python's; its server is, in xllamacpp. So the
options are read here as the program reads them; that it knows each by this name is asked of the
library's own table (``known_options``).
"""

import contextlib
import functools
import importlib.util
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

CHILD = """
import json, sys, time
import xllamacpp
given = json.loads(sys.argv[1])
params = xllamacpp.CommonParams()
params.model.path = given.pop("--model")
params.model_alias = {given.pop("--alias")}
params.hostnames = [given.pop("--host")]
params.port = int(given.pop("--port"))
params.n_ctx = int(given.pop("--ctx-size"))
params.n_parallel = int(given.pop("--parallel"))
params.cpuparams.n_threads = int(given.pop("--threads"))
params.n_gpu_layers = int(given.pop("--n-gpu-layers"))
params.offline = given.pop("--offline")
params.use_jinja = given.pop("--jinja")
params.endpoint_metrics = given.pop("--metrics")
params.endpoint_slots = not given.pop("--no-slots")
params.ui = not given.pop("--no-webui")
assert not given, given
params.no_extra_bufts = True
params.warmup = False
server = xllamacpp.Server(params)
print("listening", server.listening_address, flush=True)
sys.stdin.read()
"""


@functools.cache
def known_options() -> frozenset[str]:
    """Return every option that stands in the library: those of the program are among them."""
    found = importlib.util.find_spec("xllamacpp")
    assert found is not None
    assert found.origin is not None
    (path,) = Path(found.origin).parent.glob("xllamacpp*.so")
    names = re.findall(rb"(?<=\0)(--[a-z][a-z0-9-]+)(?=\0)", path.read_bytes())
    return frozenset(name.decode() for name in names)


@contextlib.contextmanager
def llama_server(options: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Yield the address of a server that was started with our options, while the block runs."""
    given = {words[0]: words[1] if len(words) > 1 else True for words in options}
    command = [sys.executable, "-c", CHILD, json.dumps(given)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdin is not None
        try:
            # What it logs is read by nobody: a full pipe would hold it up.
            process.stderr.close()
            lines = iter(process.stdout.readline, "")
            line = next((line for line in lines if line.startswith("listening ")), "")
            assert line, "the server did not start"
            yield line.split()[1]
        finally:
            process.stdin.close()
            process.terminate()
            process.wait(timeout=30)


def fetch(address: str) -> bytes:
    """Return what a server answers to GET."""
    with urllib.request.urlopen(address, timeout=60) as answer:
        body: bytes = answer.read()
        return body
