"""Connections and how they get out: directly, or through the proxies of the environment.

``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` (or their lower-case forms)
choose the way for each URL; a proxy's user and password may stand in its address.
"""

import ssl
import threading
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import LocationValueError, ProxySchemeUnknown

from modelvault.errors import BadConfiguration, SourceUnreachable
from modelvault.sources.net.abortable import make_abortable
from modelvault.sources.net.urls import label_of


def refused_by_proxy() -> SourceUnreachable:
    """Return the error for a proxy's 407."""
    return SourceUnreachable(
        "the proxy asks for a user and password, or refuses those it was given (407)",
        hint="set HTTPS_PROXY and HTTP_PROXY to http://USER:PASSWORD@HOST:PORT, with special "
        "characters percent-encoded, or name the Hub's host in NO_PROXY",
    )


class Pools:
    """Pools of connections, one for each proxy and one for the direct way."""

    def __init__(self, connections: int, tls: ssl.SSLContext) -> None:
        """Read the environment.

        Args:
            connections: Idle connections to keep for each host.
            tls: Whom to believe, proxies that speak TLS included.
        """
        self._connections = connections
        self._tls = tls
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
                make_abortable(self._pools[proxy])
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
