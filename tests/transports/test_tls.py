"""TLS on loopback with authorities made here: trusted, unknown, for another name, expired."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import colours
import pytest
import trustme
from servers import answers, redirects, serve
from transports.harness import client_side, one_request, reach, server_side, through

from favcrm import InvalidInputError, NotSentError
from favcrm.transports import AsyncHTTPTransport, HTTPTransport

if TYPE_CHECKING:
    from types import ModuleType

    from colours import Colour

    from favcrm.secret import Secret

pytestmark = pytest.mark.anyio

PAST = datetime(2021, 1, 1, tzinfo=UTC)


Certify = Callable[[trustme.CA], trustme.LeafCert]

REFUSED: dict[str, tuple[Certify, str]] = {
    "unknown issuer": (
        lambda _: trustme.CA().issue_cert("127.0.0.1"),
        "unable to get local issuer certificate",
    ),
    "another name": (
        lambda authority: authority.issue_cert("elsewhere.example"),
        "certificate is not valid for '127.0.0.1'",
    ),
    "expired": (
        lambda authority: authority.issue_cert(
            "127.0.0.1", not_before=PAST, not_after=PAST.replace(year=2022)
        ),
        "certificate has expired",
    ),
}


@pytest.mark.usefixtures("trusted")
async def test_an_authority_of_the_environment_is_trusted(
    colour: Colour, authority: trustme.CA, key: Secret
) -> None:
    with serve(answers(), tls=server_side(authority.issue_cert("127.0.0.1"))) as server:
        async with reach(colour, server.url) as wire:
            for _ in range(3):
                assert (await wire.request(api_key=key)).result == {}
    assert server.url.startswith("https://")
    assert server.greeted == [1]
    assert server.requests[-1].headers["authorization"] == f"Bearer {key.reveal()}"


async def test_an_authority_of_a_handed_over_client_is_trusted(
    colour: Colour, library: ModuleType, authority: trustme.CA
) -> None:
    with serve(answers(), tls=server_side(authority.issue_cert("127.0.0.1"))) as server:
        async with through(library, colour, server.url, verify=client_side(authority)) as wire:
            for _ in range(3):
                assert (await wire.request()).result == {}
    assert server.greeted == [1]


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("certificate", REFUSED)
async def test_a_certificate_that_is_not_accepted_raises_at_the_first_attempt(
    colour: Colour, authority: trustme.CA, key: Secret, certificate: str
) -> None:
    certify, reason = REFUSED[certificate]
    with serve(answers(), tls=server_side(certify(authority))) as server:
        crm = colours.client(colour, server.url, api_key=key)
        with pytest.raises(NotSentError) as raised:
            await crm.call_tool("any")
        await crm.end()
    error = raised.value
    assert error.permanent
    assert error.message.startswith("The endpoint's TLS certificate is not accepted: ")
    assert error.message.endswith(f"{reason}. Nothing was sent.")
    assert "SSL_CERT_FILE" in error.next_step
    assert error.__context__ is None
    assert (server.tried, server.requests) == (1, [])


@pytest.mark.usefixtures("trusted")
async def test_a_redirect_from_tls_to_plain_http_is_not_followed(
    colour: Colour, authority: trustme.CA, key: Secret
) -> None:
    with serve(answers()) as plain:
        certificate = server_side(authority.issue_cert("127.0.0.1"))
        with serve(redirects(plain.url), tls=certificate) as server:
            response = await one_request(colour, server.url, api_key=key)
    assert (response.status, response.defect) == (307, f"is a redirect to {plain.url}")
    assert plain.tried == 0


@pytest.mark.parametrize("kind", [HTTPTransport, AsyncHTTPTransport])
@pytest.mark.parametrize("value", ["/does/not/exist.pem", __file__])
def test_certificates_that_cannot_be_read_raise_invalid_input_error(
    kind: type[HTTPTransport | AsyncHTTPTransport], value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", value)
    with pytest.raises(InvalidInputError) as raised:
        kind("https://favcrm.example/mcp")
    assert "SSL_CERT_FILE" in raised.value.problems[0].field
    assert raised.value.__context__ is None
    kind("http://127.0.0.1:9/mcp")
