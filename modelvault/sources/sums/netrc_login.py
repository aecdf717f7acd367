"""The login that ``~/.netrc`` holds for a web server, as curl, wget and pip take it.

Invariants:
    * A login goes over https alone, and to the list's own server alone.
    * No password appears in a message.

Source: GNU inetutils, "The .netrc file".
"""

import netrc
import os
from pathlib import Path

from modelvault import fsio
from modelvault.errors import BadConfiguration
from modelvault.sources.net.connection import Basic

_LIMIT = 1024 * 1024
"""Bytes of the largest ``.netrc`` that is read."""


def find_login(host: str) -> Basic | None:
    """Return the login of exactly this host; None where there is none.

    The file is ``NETRC``'s or ``~/.netrc``. Its ``default`` entry stands for every host, and is
    not used: whoever is named in a list of models was not meant by it.

    Raises:
        BadConfiguration: The file is damaged, or others may read the password in it that this
            host would be shown.
    """
    given = os.environ.get("NETRC")
    path = Path(given).expanduser() if given else Path.home() / ".netrc"
    try:
        with fsio.storage_errors(path):
            status = path.stat()
            if status.st_size > _LIMIT:
                raise BadConfiguration(f"{path}: larger than {_LIMIT} bytes: no list of logins")
            known = netrc.netrc(path)  # named, it is not checked for who may read it: below
    except FileNotFoundError:
        return None
    except (netrc.NetrcParseError, UnicodeError) as error:
        line = getattr(error, "lineno", None)
        raise BadConfiguration(
            f"{path}: cannot be used as a list of logins" + (f" (line {line})" if line else ""),
            hint="it holds lines such as: machine HOST login USER password WORD",
        ) from None  # what the parser stumbled over may be a password
    login, _, password = known.hosts.get(host, (None, None, None))
    if not password:
        return None
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise BadConfiguration(
            f"{path}: others may read the password for {host}",
            hint=f"chmod 600 {path}, and be its owner",
        )
    return Basic(user=login or "", password=password)
