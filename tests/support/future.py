"""Records as a later release will write them: the same, of the next version."""

import dataclasses

from modelvault.core.artifact import Artifact
from modelvault.core.manifest import Manifest


def next_version(data: bytes, newest: int = 1) -> bytes:
    """Return a record of the newest version as one of the next, with a field that nobody knows."""
    newer = data.replace(b'/v%d",' % newest, b'/v%d",' % (newest + 1), 1)
    assert newer != data
    return newer.rstrip(b"\n")[:-1] + b',"zeta":[{"new":1}]}'


class NewerArtifact(Artifact):
    """An artefact that encodes as a later release would."""

    __slots__ = ()

    def encode(self) -> bytes:
        """Return the record of version 2."""
        return next_version(Artifact.encode(self))


class NewerManifest(Manifest):
    """A manifest that encodes as a later release would."""

    __slots__ = ()

    def encode(self) -> bytes:
        """Return the manifest of version 2."""
        return next_version(Manifest.encode(self))


def newer_artifact(artifact: Artifact) -> NewerArtifact:
    """Return the same artefact, of the next version."""
    return NewerArtifact(
        **{item.name: getattr(artifact, item.name) for item in dataclasses.fields(artifact)}
    )


def newer_manifest(manifest: Manifest) -> NewerManifest:
    """Return the same manifest, of the next version."""
    return NewerManifest(files=manifest.files)
