"""The address of the tools, and which other addresses are the same place."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import get_args
from urllib.parse import SplitResult, urljoin, urlsplit

from attrs import evolve, frozen

from favcrm._patterns import lazy_pattern
from favcrm.typing import Profile

__all__ = ["Endpoint"]

FAVCRM = "favcrm.io"
PROFILES: tuple[Profile, ...] = get_args(Profile)
DEFAULT_PORTS = {"https": 443, "http": 80}
AUTHORITY = lazy_pattern(
    r"(.*@)?(([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?|\[[0-9a-f:.]+\])(:[0-9]*)?", re.IGNORECASE
)


@frozen
class Endpoint:
    """An address that a key may be sent to: TLS, or plain HTTP that does not leave this machine.

    Attributes:
        url: The whole address.
        origin: Scheme, host and port. The key goes nowhere else.
        profile: Which tools are asked for, or None for the server's default.
    """

    url: str
    origin: tuple[str, str, int]
    profile: Profile | None = None

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        """Read an address.

        Raises:
            ValueError: It is none, or no key may be sent there; the message says which.
        """
        url = url.strip()
        if not (url.isascii() and url.isprintable()):
            raise ValueError("must be written in printable ASCII")
        try:
            parts = urlsplit(url)
            origin = _origin(parts)
        except ValueError:
            raise ValueError("must be an address such as https://api.favcrm.io/mcp") from None
        if parts.username is not None or parts.password is not None:
            raise ValueError("must not hold a user name or password")
        if parts.scheme == "http" and not _is_loopback(origin[1]):
            raise ValueError("must begin with https://, since plain http is only allowed on this machine")
        return cls(parts._replace(fragment="").geturl(), origin)

    def with_profile(self, profile: Profile | None) -> Endpoint:
        """Return the same address with the tools that are asked for there.

        Raises:
            ValueError: There is no such profile.
        """
        if profile not in {None, *PROFILES}:
            raise ValueError(f"must be one of {', '.join(PROFILES)}")
        return evolve(self, profile=profile)

    @property
    def encrypted(self) -> bool:
        """Whether TLS is used."""
        return self.origin[0] == "https"

    @property
    def favcrms_own(self) -> bool:
        """Whether it is FavCRM's own host, whose protocol is known."""
        host = self.origin[1].rstrip(".")
        return host == FAVCRM or host.endswith(f".{FAVCRM}")

    def follow(self, location: str) -> Endpoint | None:
        """Return where a redirect leads if it stays at this origin, or None."""
        if not location:
            return None
        try:
            target = Endpoint.parse(urljoin(self.url, location))
        except ValueError:
            return None
        return target if target.origin == self.origin else None


def same_origin(one: str, other: str) -> bool:
    """Tell whether two addresses have the same scheme, host and port."""
    try:
        return _origin(urlsplit(one)) == _origin(urlsplit(other))
    except ValueError:
        return False


def without_details(location: str) -> str:
    """Return an address for people: no user, no query, no fragment."""
    try:
        parts = urlsplit(location)
        host = parts.hostname or ""
        host = f"[{host}]" if ":" in host else host
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "an address that cannot be read"
    scheme = f"{parts.scheme}:" if parts.scheme else ""
    return f"{scheme}//{host}{port}{parts.path}" if host else parts.path


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    # Other addresses are refused, because HTTP clients read another host or port in them than urllib does.
    if parts.scheme not in DEFAULT_PORTS or not AUTHORITY.fullmatch(parts.netloc):
        raise ValueError("no HTTP address")
    return parts.scheme, parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme]


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
