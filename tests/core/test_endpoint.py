"""Where a key may go: https, or plain http on this machine; and which addresses are the same place."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from favcrm.endpoint import Endpoint, same_origin, without_details


@pytest.mark.parametrize(
    ("url", "read", "origin"),
    [
        (" HTTPS://A.example:443\n", "https://A.example:443", ("https", "a.example", 443)),
        ("https://a.example:8443/x?y=z#part", "https://a.example:8443/x?y=z", ("https", "a.example", 8443)),
        ("https://[2001:db8::1]/mcp", None, ("https", "2001:db8::1", 443)),
        ("https://a.example:/", None, ("https", "a.example", 443)),
        ("https://a.example./", None, ("https", "a.example.", 443)),
        ("http://localhost/mcp", None, ("http", "localhost", 80)),
        ("http://favcrm.localhost/mcp", None, ("http", "favcrm.localhost", 80)),
        ("http://127.9.9.9/", None, ("http", "127.9.9.9", 80)),
        ("http://[::1]:1/", None, ("http", "::1", 1)),
    ],
)
def test_an_address_that_a_key_may_go_to_is_read(
    url: str, read: str | None, origin: tuple[str, str, int]
) -> None:
    endpoint = Endpoint.parse(url)
    assert (endpoint.url, endpoint.origin) == (read or url, origin)
    assert endpoint.encrypted == (origin[0] == "https")


NO_ADDRESS = "must be an address such as https://api.favcrm.io/mcp"
PLAIN = "must begin with https://, since plain http is only allowed on this machine"
USER = "must not hold a user name or password"
PRINTABLE = "must be written in printable ASCII"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", NO_ADDRESS),
        ("api.favcrm.example/mcp", NO_ADDRESS),
        ("ftp://api.favcrm.example/mcp", NO_ADDRESS),
        ("https://", NO_ADDRESS),
        ("https://:443/mcp", NO_ADDRESS),
        ("https://a.example:port/", NO_ADDRESS),
        ("https://a.example:65536/", NO_ADDRESS),
        ("https://[::1/", NO_ADDRESS),
        ("https://a..example/", NO_ADDRESS),
        ("https://a b.example/", NO_ADDRESS),
        ("http://[::1]8000/", NO_ADDRESS),
        ("https://a%41.example/", NO_ADDRESS),
        ("https://a\\b.example/", NO_ADDRESS),
        (f"https://{'a' * 64}.example/", NO_ADDRESS),
        ("http://api.favcrm.example/mcp", PLAIN),
        ("http://192.168.0.1/mcp", PLAIN),
        ("http://127.0.0.1.example/mcp", PLAIN),
        ("http://notlocalhost/mcp", PLAIN),
        ("http://127.1/mcp", PLAIN),
        ("http://[::ffff:10.0.0.1]/mcp", PLAIN),
        ("https://user@a.example/", USER),
        ("https://:word@a.example/", USER),
        ("http://127.0.0.1\\@elsewhere.example/", USER),
        ("https://bücher.example/", PRINTABLE),
        ("https://a.example/\u2028x", PRINTABLE),
        ("https://a.\nexample/", PRINTABLE),
    ],
)
def test_an_address_that_no_key_may_be_sent_to_is_refused(url: str, problem: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011  # the message is compared as a whole
        Endpoint.parse(url)
    assert str(raised.value) == problem


HOSTS = [
    "127.0.0.1",
    "localhost",
    "elsewhere.example",
    "[::1]",
    "user@",
    "8000",
    "@",
    ":80",
    ":",
    "\\",
    "/",
    "#",
    "?",
    "%2f",
]


@given(
    st.sampled_from(["http://", "https://"]),
    st.lists(st.sampled_from(HOSTS) | st.text(max_size=2), max_size=5),
)
@settings(max_examples=300)
def test_httpx_reads_the_same_origin(scheme: str, parts: list[str]) -> None:
    """What is judged here is what httpx connects to, where httpx can read it at all."""
    try:
        endpoint = Endpoint.parse(scheme + "".join(parts))
        read = httpx.URL(endpoint.url)
        host = read.host
    except (ValueError, httpx.InvalidURL):
        return
    default = 443 if read.scheme == "https" else 80
    assert (read.scheme, host, read.port or default) == endpoint.origin
    assert not read.userinfo


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("https://a.example/other", "https://a.example/other"),
        ("/other?a=b", "https://a.example/other?a=b"),
        ("other", "https://a.example/one/other"),
        ("//a.example/", "https://a.example/"),
    ],
)
def test_a_redirect_within_the_origin_is_followed(location: str, url: str) -> None:
    followed = Endpoint.parse("https://a.example/one/two").follow(location)
    assert followed is not None
    assert followed.url == url
    assert followed.origin == ("https", "a.example", 443)


@pytest.mark.parametrize(
    "location",
    [
        "",
        "http://a.example/one/two",
        "https://a.example:444/one/two",
        "https://b.example/one/two",
        "https://user@a.example/",
        "javascript:alert(1)",
        "https://[a.example/",
    ],
)
def test_a_redirect_elsewhere_is_not_followed(location: str) -> None:
    assert Endpoint.parse("https://a.example/one/two").follow(location) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://a.example/x", "https://A.example:443/y?z", True),
        ("https://a.example", "http://a.example", False),
        ("https://a.example", "https://a.example:444", False),
        ("https://a.example", "https://b.example", False),
        ("https://a.example", "nowhere", False),
        ("https://[::1", "https://[::1", False),
    ],
)
def test_one_origin_is_the_same_scheme_host_and_port(one: str, other: str, same: bool) -> None:
    assert same_origin(one, other) is same
    assert same_origin(other, one) is same


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://user:word@a.example:8443/path?token=told#part", "https://a.example:8443/path"),
        ("https://a.example", "https://a.example"),
        ("http://user@[::1]:80/path", "http://[::1]:80/path"),
        ("//user@a.example/path", "//a.example/path"),
        ("/path?token=told", "/path"),
        ("?token=told", ""),
        ("https://[a.example", "an address that cannot be read"),
        ("https://a.example:port/", "an address that cannot be read"),
    ],
)
def test_an_address_is_shown_without_details(location: str, shown: str) -> None:
    assert without_details(location) == shown


@pytest.mark.parametrize("host", ["api.favcrm.io", "favcrm.io", "API.FavCRM.io", "favcrm.io."])
def test_a_host_of_favcrms_domain_is_its_own(host: str) -> None:
    assert Endpoint.parse(f"https://{host}/mcp").favcrms_own


@pytest.mark.parametrize("host", ["favcrm.io.example", "notfavcrm.io", "favcrm.example"])
def test_a_host_that_only_looks_like_favcrms_is_another(host: str) -> None:
    assert not Endpoint.parse(f"https://{host}/mcp").favcrms_own
