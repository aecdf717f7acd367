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
        BadConfiguration: The file cannot be used, or others may read the passwords in it.
    """
    given = os.environ.get("NETRC")
    path = Path(given).expanduser() if given else Path.home() / ".netrc"
    try:
        with fsio.storage_errors(path):
            if path.stat().st_size > _LIMIT:
                raise BadConfiguration(f"{path}: larger than {_LIMIT} bytes: no list of logins")
            # who may read it is checked of ~/.netrc, not of what NETRC names
            known = netrc.netrc(path if given else None)
    except FileNotFoundError:
        return None
    except (netrc.NetrcParseError, UnicodeError) as error:
        line = getattr(error, "lineno", None)
        raise BadConfiguration(
            f"{path}: cannot be used as a list of logins" + (f" (line {line})" if line else ""),
            hint="it has to be yours, with mode 0600, and hold machine, login and password",
        ) from None  # what the parser stumbled over may be a password
    login, _, password = known.hosts.get(host, (None, None, None))
    return Basic(user=login or "", password=password) if password else None
