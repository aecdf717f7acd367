"""Proxies and times as the environment has them: one reading, for metadata and bytes alike."""

import pytest

from modelvault.errors import BadConfiguration, BadOption
from modelvault.sources.net.environment import Proxies
from modelvault.sources.net.retry import Limits, with_timeout
from modelvault.sources.net.timeouts import read_timeout

PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, "https://hub.example/", ""),
        ({"HTTPS_PROXY": PROXY}, "https://hub.example/", PROXY),
        ({"HTTPS_PROXY": PROXY}, "http://hub.example/", ""),
        ({"HTTPS_PROXY": "proxy.example:3128"}, "https://hub.example/", PROXY),
        ({"ALL_PROXY": PROXY}, "http://hub.example/", PROXY),
        ({"ALL_PROXY": "socks5://p:1", "HTTPS_PROXY": PROXY}, "https://hub.example/", PROXY),
        ({"HTTPS_PROXY": PROXY, "https_proxy": ""}, "https://hub.example/", ""),
        ({"HTTPS_PROXY": "http://a:1", "https_proxy": PROXY}, "https://hub.example/", PROXY),
        ({"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"}, "http://hub.example/", ""),
    ],
)
def test_proxy_is_the_one_that_is_named(environment: dict[str, str], url: str, proxy: str) -> None:
    """Lower case goes first, empty means none, the scheme's own goes before the one for all."""
    assert Proxies(environment).proxy_for(url) == proxy


@pytest.mark.parametrize(
    ("without", "url", "direct"),
    [
        ("*", "https://hub.example/", True),
        ("hub.example", "https://hub.example:8443/", True),
        ("hub.example", "https://a.hub.example/", True),
        ("hub.example", "https://ahub.example/", False),
        (".hub.example", "https://hub.example/", True),
        ("*.hub.example", "https://a.hub.example/", True),
        ("HUB.example.", "https://hub.EXAMPLE/", True),
        ("a, hub.example b", "https://hub.example/", True),
        ("hub.example:8443", "https://hub.example:8443/", True),
        ("hub.example:443", "https://hub.example/", True),
        ("hub.example:80", "https://hub.example/", False),
        ("https://hub.example", "https://hub.example/", True),
        ("10.0.0.0/8", "https://10.20.30.40/", True),
        ("10.0.0.0/8", "https://11.20.30.40/", False),
        ("10.1.2.3/8", "https://10.20.30.40/", True),
        ("10.1.2.3", "https://10.1.2.3:8000/", True),
        ("10.1.2.3:80", "https://10.1.2.3/", False),
        ("fd00::/8", "https://[fd12::1]:8000/", True),
        ("[fd00::]/8", "https://[fd12::1]/", True),
        ("::1", "https://[::1]:8000/", True),
        ("[::1]:8000", "https://[::1]:8000/", True),
        ("[::1]:8001", "https://[::1]:8000/", False),
        ("0.0.0.0/0", "https://[::1]/", False),
        ("10.0.0.0/99, /, :, [", "https://10.0.0.1/", False),
    ],
)
def test_hosts_and_networks_without_a_proxy(without: str, url: str, direct: bool) -> None:
    """Names with all below them, addresses, networks, ports; nonsense stands for nothing."""
    proxies = Proxies({"HTTPS_PROXY": PROXY, "NO_PROXY": without})
    assert (proxies.proxy_for(url) == "") is direct


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks4", "SOCKS5"])
def test_socks_proxy_is_refused_by_name(scheme: str) -> None:
    """With the variable, the way out, and no password."""
    proxies = Proxies({"ALL_PROXY": f"{scheme}://clerk:hush@proxy.example:1080", "NO_PROXY": "x"})
    with pytest.raises(BadConfiguration, match=r"ALL_PROXY names a SOCKS proxy") as error:
        proxies.proxy_for("https://hub.example/")
    assert "HTTPS_PROXY" in error.value.hint
    assert "hush" not in f"{error.value.message}{error.value.hint}"
    assert proxies.proxy_for("https://x/") == ""


@pytest.mark.parametrize(
    "address", ["ftp://proxy.example", "http://", "http://p:99999", "http://[x"]
)
def test_proxy_that_is_no_address_is_refused(address: str) -> None:
    """Instead of a connection that nobody understands."""
    with pytest.raises(BadConfiguration, match="HTTP_PROXY"):
        Proxies({"HTTP_PROXY": address}).proxy_for("http://hub.example/")


def test_timeout_is_what_was_said_or_what_the_environment_says() -> None:
    """The option first, then the variable of the Hub's own tools; nought is the usual."""
    assert read_timeout(90.0, {"HF_HUB_DOWNLOAD_TIMEOUT": "60"}) == 90.0
    assert read_timeout(None, {"HF_HUB_DOWNLOAD_TIMEOUT": " 60 "}) == 60.0
    assert read_timeout(None, {"HF_HUB_DOWNLOAD_TIMEOUT": "0"}) is None
    assert read_timeout(None, {"HF_HUB_ETAG_TIMEOUT": "60"}) is None
    assert read_timeout(None, {}) is None


@pytest.mark.parametrize("text", ["ten", "1.5", "-1", "1e3", "999999999"])
@pytest.mark.parametrize("name", ["HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"])
def test_variable_that_is_no_time_is_named(name: str, text: str) -> None:
    """The Hub's library would end with a traceback when it is imported."""
    with pytest.raises(BadConfiguration, match=name):
        read_timeout(None, {name: text})


@pytest.mark.parametrize("seconds", [0.0, -3.0, 0.5, 1e6, float("nan"), float("inf")])
def test_timeout_out_of_range_is_refused(seconds: float) -> None:
    """One second to a day."""
    with pytest.raises(BadOption, match="timeout"):
        read_timeout(seconds, {})


def test_silence_that_is_borne_is_no_stall() -> None:
    """A gateway that looks into a file before it hands it out may take its time."""
    limits = with_timeout(Limits(), 600.0)
    assert (limits.connect_timeout, limits.read_timeout) == (600.0, 600.0)
    assert limits.stall_window >= 1200.0
    assert with_timeout(Limits(), None) == Limits()
    assert with_timeout(Limits(), 2.0).stall_window == Limits().stall_window
