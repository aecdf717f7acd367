"""Which image a container runs: of the site's own registry, and pinned.

``latest`` is another image tomorrow, and in a closed network nobody would notice which one a
node happens to hold.

Source: https://github.com/distribution/reference (the grammar of image names)
"""

import re

from modelvault.errors import BadOption
from modelvault.serving.programs import Program
from modelvault.serving.wishes import Wishes

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_DOMAIN = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?"
_REGISTRY = re.compile(rf"{_DOMAIN}(?:/{_COMPONENT})*")
_IMAGE = re.compile(
    rf"(?:{_DOMAIN}/)?{_COMPONENT}(?:/{_COMPONENT})*"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


def choose_image(known: Program, wishes: Wishes, *, gpus: int) -> str:
    """Return the image to run.

    Args:
        known: The server.
        wishes: Hold ``--image`` or ``--registry``.
        gpus: How many GPUs it gets.

    Raises:
        BadOption: Neither or both are given, the name is not one, or it is not pinned.
    """
    if wishes.image is not None:
        if wishes.registry is not None:
            raise BadOption("--image and --registry exclude each other", hint="give one of them")
        return _check_image(wishes.image)
    if wishes.registry is None:
        raise BadOption(
            "where does the image come from?",
            hint="name the site's registry with --registry registry.example:5000, "
            "or a pinned image with --image",
        )
    registry = wishes.registry.rstrip("/")
    if not _REGISTRY.fullmatch(registry):
        raise BadOption(
            f"--registry {wishes.registry!r} is no registry", hint="write HOST[:PORT][/PATH]"
        )
    image = known.image if gpus else known.cpu_image
    if image is None:
        raise BadOption(
            "there is no usual image of this server without a GPU", hint="name one with --image"
        )
    return f"{registry}/{image}"


def _check_image(text: str) -> str:
    match = _IMAGE.fullmatch(text)
    if match is None:
        raise BadOption(f"--image {text!r} names no image", hint="write NAME:TAG or NAME@sha256:…")
    if match["digest"] is None and match["tag"] in (None, "latest"):
        raise BadOption(
            f"--image {text} is not pinned: it may be another one tomorrow",
            hint="name a version (NAME:TAG) or a digest (NAME@sha256:…)",
        )
    return text
