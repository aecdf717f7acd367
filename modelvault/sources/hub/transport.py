"""How the Hub's library gets out: over the same proxies, by the same reading, as the bytes."""

import ssl

import httpx2

from modelvault.sources.net.environment import Proxies


class ProxiedTransport(httpx2.BaseTransport):
    """Sends each request directly, or through the proxy that the environment names for it."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        """Read the environment.

        Args:
            tls: Whom to believe, proxies that speak TLS included.
        """
        self._tls = tls
        self._proxies = Proxies()
        self._ways: dict[str, httpx2.HTTPTransport] = {}

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request.

        Raises:
            BadConfiguration: The proxy that is named cannot be used.
        """
        proxy = self._proxies.proxy_for(str(request.url))
        if proxy not in self._ways:
            self._ways[proxy] = httpx2.HTTPTransport(
                verify=self._tls, trust_env=False, proxy=self._through(proxy)
            )
        return self._ways[proxy].handle_request(request)

    def _through(self, proxy: str) -> httpx2.Proxy | None:
        if not proxy:
            return None
        speaks_tls = proxy.lower().startswith("https://")
        return httpx2.Proxy(proxy, ssl_context=self._tls if speaks_tls else None)

    def close(self) -> None:
        """Close idle connections."""
        for way in self._ways.values():
            way.close()
