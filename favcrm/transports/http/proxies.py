"""Which proxy of the environment leads to an endpoint, if any.

httpx reads these variables too. But if it cannot read one entry of NO_PROXY it refuses all of them, and does not say
which entry it was.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TypeAlias
from urllib.parse import urlsplit
from urllib.request import getproxies

from favcrm._patterns import lazy_pattern
from favcrm._text import clean
from favcrm.errors import InvalidInputError, Problem
from favcrm.events import logger

Network: TypeAlias = IPv4Network | IPv6Network

VARIABLES = {"https": "HTTPS_PROXY", "all": "ALL_PROXY"}
SCHEMES = ("http", "https", "socks5", "socks5h")
HOST = lazy_pattern(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?|[0-9a-f:.]*:[0-9a-f:.]*")
EXEMPT_NAME = lazy_pattern(r"\*?\.?(?P<name>[a-z0-9_-]+(\.[a-z0-9_-]+)*)\.?")
BRACKETS = lazy_pattern(r"\[([^\]]*)\](/\d+)?")


def find_proxy(url: str) -> str | None:
    """Return the address of the proxy that leads to an https address, or None.

    Raises:
        InvalidInputError: The proxy's address cannot be used. The variable is named, and its value is not shown.
    """
    proxies = getproxies()
    kind = next((kind for kind in VARIABLES if proxies.get(kind)), None)
    if kind is None or _is_exempt(url, proxies.get("no", "")):
        return None
    proxy = proxies[kind] if "://" in proxies[kind] else f"http://{proxies[kind]}"
    problem = _problem_of(proxy)
    if problem:
        variable = _spelling(VARIABLES[kind])
        raise InvalidInputError([Problem(variable, problem)])
    return proxy


def _problem_of(proxy: str) -> str:
    """Return what is wrong with the address of a proxy, without quoting it; empty if it can be used."""
    try:
        parts = urlsplit(proxy)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    else:
        if parts.scheme not in SCHEMES:
            return f"must begin with one of {', '.join(f'{scheme}://' for scheme in SCHEMES)}"
        if parts.scheme.startswith("socks") and find_spec("socksio") is None:
            return 'needs a package for SOCKS, which comes with: pip install "httpx[socks]"'
    if not HOST.fullmatch(host) or port == 0 or not proxy.isprintable():
        return (
            "has a host or a port that cannot be read; it must be like http://proxy.example:3128, "
            "with other signs than letters and digits percent-encoded in a user name or password"
        )
    return ""


def _spelling(variable: str) -> str:
    """Return a variable's name as it is set. The name in small letters counts first."""
    return variable.lower() if os.environ.get(variable.lower()) else variable


def _is_exempt(url: str, no_proxy: str) -> bool:
    """Tell whether NO_PROXY names the host of an address."""
    parts = urlsplit(url)
    host, port = (parts.hostname or "").rstrip("."), parts.port or 443
    entries = [entry.strip().lower() for entry in no_proxy.split(",")]
    return any(_names(entry, host, port) for entry in entries if entry)


def _names(entry: str, host: str, port: int) -> bool:
    """Tell whether an entry names a host: by its name, the end of its name, its address or its network."""
    if entry == "*":
        return True
    scheme, _, place = entry.rpartition("://")
    place, at = _split_port(place)
    network, name = _network(place), EXEMPT_NAME.fullmatch(place)
    if network is None and name is None:
        logger.warning(
            "an entry of NO_PROXY is no name, address or network, and is left out: %s", clean(entry)
        )
        return False
    if scheme not in {"", "all", "https"} or at not in {None, port}:
        return False
    if network is None:
        assert name is not None
        return f".{host}".endswith(f".{name['name']}")
    address = _network(host)
    return address is not None and address.network_address in network


def _split_port(place: str) -> tuple[str, int | None]:
    """Return a place without its port, and the port if it has one."""
    before, _, digits = place.rpartition(":")
    if before and digits.isdecimal() and _network(place) is None:
        return before, int(digits)
    return place, None


def _network(place: str) -> Network | None:
    """Read an address or a network, with or without the brackets of an IPv6 address."""
    try:
        return ip_network(BRACKETS.sub(r"\1\2", place) if BRACKETS.fullmatch(place) else place, strict=False)
    except ValueError:
        return None
