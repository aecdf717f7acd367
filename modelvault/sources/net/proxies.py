"""Pools of connections for the bytes: directly, or through the proxies of the environment.

A proxy's user and password may stand in its address.
"""

import ssl
import threading
from urllib.parse import unquote

import urllib3
from urllib3.exceptions import LocationValueError, ProxySchemeUnknown

from modelvault.errors import BadConfiguration, SourceUnreachable
from modelvault.sources.net.abortable import make_abortable
from modelvault.sources.net.environment import Proxies
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
        self._proxies = Proxies()
        self._pools: dict[str, urllib3.PoolManager] = {}
        self._mutex = threading.Lock()

    def pool_for(self, url: str) -> urllib3.PoolManager:
        """Return the pool for a URL: through the proxy that the environment names, or direct.

        Raises:
            BadConfiguration: The proxy's address cannot be used.
        """
        proxy = self._proxies.proxy_for(url)
        with self._mutex:
            if proxy not in self._pools:
                self._pools[proxy] = self._make_pool(proxy)
                make_abortable(self._pools[proxy])
            return self._pools[proxy]

    def _make_pool(self, proxy: str) -> urllib3.PoolManager:
        if not proxy:
            return urllib3.PoolManager(maxsize=self._connections, ssl_context=self._tls)
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
