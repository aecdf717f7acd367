"""Export and import beside ``cp`` and ``sha256sum``, or ``tar | zstd``, of the same files.

Each run starts with the files out of the page cache. Ours ends with the bytes on disk, so
the copy is timed with and without a ``sync`` behind it. Peak memory is that of a child
process that does nothing else. With ``--compress auto`` the model is of bf16 weights, and an
export is compared with ``tar | zstd -1 -T0``, the tool with which people pack such files.

Example:
    $ python -m benchmarks.bundle --size 2GiB --runs 5 --folder /mnt/scratch
    $ python -m benchmarks.bundle --size 1GiB --compress auto
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from modelvault.bundle.format.layouts.volumes import parse_volume_size
from modelvault.bundle.read.bundle import open_bundle
from modelvault.bundle.read.receive import import_blobs
from modelvault.bundle.write.bundle import WriteOptions, write_bundle
from modelvault.bundle.write.compression import Compression
from modelvault.core.artifact import Artifact, FolderOrigin
from modelvault.core.manifest import FileEntry, Manifest
from modelvault.core.names import ModelName
from modelvault.store.blobs import Store
from modelvault.trust.keys import generate_key, parse_public_key
from modelvault.trust.policy import TrustPolicy

CHUNK = 8 * 1024 * 1024
FILES = 2


def noise() -> bytes:
    """Return bytes that do not shrink."""
    return os.urandom(CHUNK)


def weights() -> bytes:
    """Return bf16 weights, spread as those of trained models are."""
    values = np.random.default_rng().standard_normal(CHUNK // 2, dtype=np.float32) * 0.02
    return (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()


def make_model(store: Store, size: int, content: Callable[[], bytes]) -> Artifact:
    """Put a model of ``size`` bytes in two files into the store."""
    entries = []
    for number in range(FILES):
        path = store.paths.root / f"weights-{number}"
        with open(path, "wb") as file:
            file.writelines(content() for _ in range(size // FILES // CHUNK))
        blob = store.take(path)
        entries.append(
            FileEntry(path=f"model-{number}.safetensors", digest=blob.digest, size=blob.size)
        )
    manifest = Manifest.of(entries)
    return Artifact(
        model=ModelName.parse("bench/model"),
        revision=manifest.digest.hex[:40],
        variant=None,
        format="safetensors",
        quantization=None,
        manifest=store.put(manifest.encode()),
        license=None,
        card={},
        origin=FolderOrigin(label="bench"),
    )


def drop_cache(folder: Path) -> None:
    """Flush the folder's files and drop them from the page cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def run_copy(source: Path, target: Path) -> tuple[float, float]:
    """Return the seconds of ``cp`` and ``sha256sum`` of a folder's files, and with ``sync``."""
    files = [str(path) for path in sorted(source.rglob("*")) if path.is_file()]
    target.mkdir()
    begin = time.perf_counter()
    subprocess.run(["cp", *files, str(target)], check=True)
    subprocess.run(["sha256sum", *files], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - begin
    subprocess.run(["sync", "-f", str(target)], check=True)
    flushed = time.perf_counter() - begin
    shutil.rmtree(target)
    return seconds, flushed


def run_tar(source: Path, target: Path) -> tuple[float, float]:
    """Return the seconds of ``tar | zstd -1 -T0`` of a folder, and with ``sync``."""
    target.mkdir()
    pipeline = 'tar -cf - -C "$0" . | zstd -1 -T0 -q -o "$1"'
    begin = time.perf_counter()
    subprocess.run(["bash", "-c", pipeline, str(source), str(target / "packed")], check=True)
    seconds = time.perf_counter() - begin
    subprocess.run(["sync", "-f", str(target)], check=True)
    flushed = time.perf_counter() - begin
    shutil.rmtree(target)
    return seconds, flushed


def run_child(action: str, root: Path, compression: str) -> tuple[float, float]:
    """Return seconds and peak memory in MiB of one export or import in a fresh process."""
    command = [sys.executable, __file__, "--child", action, "--folder", str(root)]
    output = subprocess.run(
        [*command, "--compress", compression], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    result = json.loads(output)
    return result["seconds"], result["peak"]


def child(action: str, root: Path, compression: str) -> None:
    """Do one export or import, and print what it took as JSON."""
    if action == "export":
        key = generate_key(root / "keys")
    begin = time.perf_counter()
    if action == "export":
        store = Store.open(root / "here")
        artifact = Artifact.parse((root / "artifact.json").read_bytes())
        options = WriteOptions(
            serial=1, created="2026-05-01T12:00:00Z", compression=Compression(compression)
        )
        write_bundle([artifact], store, root / "medium", signer=key, options=options)
    else:
        unverified = open_bundle(root / "medium")
        bundle = unverified.verify(TrustPolicy([parse_public_key(unverified.publisher)]))
        import_blobs(bundle, Store.create(root / "beyond"))
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak": peak}))


def run_once(root: Path, compression: str) -> dict[str, tuple[float, float]]:
    """Return two numbers for each step of one run, everything cold.

    Seconds and peak MiB of our steps; seconds without and with ``sync`` of the copies.
    """
    for name in ("medium", "beyond", "keys"):
        shutil.rmtree(root / name, ignore_errors=True)
    (root / "medium").mkdir()
    results = {}
    drop_cache(root / "here")
    pack = run_copy if compression == Compression.NONE else run_tar
    results["copy out"] = pack(root / "here" / "blobs", root / "copy")
    drop_cache(root / "here")
    results["export"] = run_child("export", root, compression)
    drop_cache(root / "medium")
    results["copy in"] = run_copy(root / "medium", root / "copy")
    drop_cache(root / "medium")
    results["import"] = run_child("import", root, compression)
    return results


def main() -> None:
    """Measure and print a table of medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="2GiB", help="bytes of the model, such as 2GiB")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="scratch folder on the disk to measure")
    parser.add_argument("--compress", default="none", choices=[item.value for item in Compression])
    parser.add_argument("--child", choices=["export", "import"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.folder, options.compress)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        root = Path(name)
        content = noise if options.compress == Compression.NONE else weights
        store, size = Store.create(root / "here"), parse_volume_size(options.size)
        artifact = make_model(store, size, content)
        (root / "artifact.json").write_bytes(artifact.encode())
        runs = [run_once(root, options.compress) for _ in range(options.runs)]
    first = {step: statistics.median(run[step][0] for run in runs) for step in runs[0]}
    second = {step: statistics.median(run[step][1] for run in runs) for step in runs[0]}
    copied = "cp + sha256sum"
    packed = copied if options.compress == Compression.NONE else "tar | zstd -1 -T0"
    for step, copy, tool in (("export", "copy out", packed), ("import", "copy in", copied)):
        ours = first[step]
        print(
            f"{step}: {ours:.2f} s, peak memory {second[step]:.0f} MiB;"
            f" {tool}: {first[copy]:.2f} s (ratio {ours / first[copy]:.2f});"
            f" with sync: {second[copy]:.2f} s (ratio {ours / second[copy]:.2f})"
        )


if __name__ == "__main__":
    main()
