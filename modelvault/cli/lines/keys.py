"""How keys read for people."""

from modelvault.app.keys import OwnKey


def new_key_lines(key: OwnKey) -> list[str]:
    """Return what is to be said when a key was made on the way to something else."""
    return [
        "a signing key was made for this vault:",
        f"  fingerprint  {key.fingerprint}",
        f"  to read out  {key.spoken}",
        "tell it to the importing site over another channel than the medium; there, once:",
        f"  modelvault trust add DIR --fingerprint {key.fingerprint}",
        "keep a copy of keys/signing.pem in a safe: without it this site signs as a new publisher",
    ]
