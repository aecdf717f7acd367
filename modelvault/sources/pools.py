"""Connections and how they get out: proxies and certificates of the environment.

``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` (or their lower-case forms)
choose the way for each URL; a proxy's user and password may stand in its address.
``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` replace the system's certificates.
"""

import contextlib
import ssl
import threading
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import LocationValueError, ProxySchemeUnknown

from modelvault.errors import BadConfiguration
from modelvault.sources.remote import label_of
from modelvault.sources.wire import make_telling


class Pools:
    """Pools of connections, one for each proxy and one for the direct way."""

    def __init__(self, connections: int) -> None:
        """Read the environment.

        Args:
            connections: Idle connections to keep for each host.

        Raises:
            BadConfiguration: The certificates cannot be loaded.
        """
        self._connections = connections
        self._tls = _tls_context()
        self._proxies = getproxies()
        self._pools: dict[str, urllib3.PoolManager] = {}
        self._mutex = threading.Lock()

    def pool_for(self, url: str) -> urllib3.PoolManager:
        """Return the pool for a URL: through the proxy that the environment names, or direct.

        Raises:
            BadConfiguration: The proxy's address cannot be used.
        """
        parts = urlsplit(url)
        proxy = self._proxies.get(parts.scheme) or self._proxies.get("all", "")
        if proxy and proxy_bypass(parts.netloc.rpartition("@")[2]):
            proxy = ""
        with self._mutex:
            if proxy not in self._pools:
                self._pools[proxy] = self._make_pool(proxy)
                make_telling(self._pools[proxy])
            return self._pools[proxy]

    def _make_pool(self, proxy: str) -> urllib3.PoolManager:
        if not proxy:
            return urllib3.PoolManager(maxsize=self._connections, ssl_context=self._tls)
        if "://" not in proxy:
            proxy = f"http://{proxy}"
        try:
            auth = unquote(urllib3.util.parse_url(proxy).auth or "")
            headers = urllib3.make_headers(proxy_basic_auth=auth) if auth else None
            return urllib3.ProxyManager(
                proxy,
                maxsize=self._connections,
                ssl_context=self._tls,
                proxy_ssl_context=self._tls,
                proxy_headers=headers,
            )
        except (ProxySchemeUnknown, LocationValueError) as error:
            raise BadConfiguration(
                f"the proxy {label_of(proxy)} cannot be used",
                hint="set HTTP_PROXY and HTTPS_PROXY to http:// or https:// addresses",
            ) from error

    def close(self) -> None:
        """Close idle connections."""
        with self._mutex:
            for pool in self._pools.values():
                pool.clear()


def _tls_context() -> ssl.SSLContext:
    """Return a context with the system's certificates, or those of ``SSL_CERT_FILE``."""
    try:
        context = ssl.create_default_context()
        paths = ssl.get_default_verify_paths()
        if paths.cafile is None and paths.capath is None:  # a slim container
            with contextlib.suppress(ImportError):
                import certifi

                context.load_verify_locations(certifi.where())
    except (OSError, ssl.SSLError) as error:
        raise BadConfiguration(
            "the TLS certificates cannot be loaded",
            hint="check the file that SSL_CERT_FILE names",
        ) from error
    return context
