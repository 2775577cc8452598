"""Which protocol era a server speaks, and which answers prove that it speaks another one.

There is no input or output here. `negotiate` is given a function that sends a message. `find_recovery` decides whether
an answer proves that a call did not run, and what has to happen before the call may be sent again.

The eras, with the versions of MCP that they cover:

- ``bare``: one message for each call, no handshake. FavCRM speaks it.
- ``legacy``: ``initialize`` first; 2024-11-05 to 2025-11-25.
- ``modern``: every request names the version and the client; 2026-07-28.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from attrs import field, frozen

import favcrm
from favcrm._mcp.payloads import as_json
from favcrm._patterns import VISIBLE, lazy_pattern
from favcrm._text import clean
from favcrm.errors import NotSentError
from favcrm.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from favcrm.transport import Response
    from favcrm.typing import JSON

MODERN_VERSION = "2026-07-28"
LEGACY_VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
CLIENT_INFO: Mapping[str, JSON] = {"name": "favcrm-python", "version": favcrm.__version__}
META = "io.modelcontextprotocol/"
# No capability is named, because a server would use it unasked.
INITIALIZE_PARAMS: Mapping[str, JSON] = {
    "protocolVersion": LEGACY_VERSIONS[0],
    "capabilities": {},
    "clientInfo": CLIENT_INFO,
}

# JSON-RPC codes. The codes from -32020 on are reserved for MCP, so they prove a server that knows 2026-07-28.
PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
HEADER_MISMATCH = -32020
MISSING_CAPABILITY = -32021
UNSUPPORTED_VERSION = -32022
LEGACY_CODES = {INVALID_REQUEST, -32000, -32002}
NEVER_RAN = {PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND}
# Codes of the server itself. A tool does not report its failures with them.
SERVER_CODES = {INVALID_REQUEST, *range(-32099, -31999)}

SUCCESS = range(HTTPStatus.OK, HTTPStatus.MULTIPLE_CHOICES)
REDIRECTS = range(HTTPStatus.MULTIPLE_CHOICES, HTTPStatus.BAD_REQUEST)
REFUSALS = range(HTTPStatus.BAD_REQUEST, HTTPStatus.INTERNAL_SERVER_ERROR)
SERVER_ERRORS = range(HTTPStatus.INTERNAL_SERVER_ERROR, 600)
# Statuses that depend on the caller or the moment, and never on the era.
NO_EVIDENCE = {
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.TOO_MANY_REQUESTS,
}
NO_SUCH_ENDPOINT = {HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}
NOT_UNDERSTOOD = {*NO_SUCH_ENDPOINT, HTTPStatus.NOT_ACCEPTABLE}
SPEAKS_OF_THE_ERA = lazy_pattern(r"initiali[sz]|protocol version", re.IGNORECASE)
SESSION_IS_OVER = lazy_pattern(
    r"session( id)? (is |was |has |has been |does )?"
    r"(not found|not exist|unknown|invalid|expired|terminated|closed|ended|lost|gone|no longer)"
    r"|(unknown|invalid|expired|terminated|missing|no such|no valid|no) (mcp[ -])?session",
    re.IGNORECASE,
)
# In a sign-up "expired" is said of the code, also of "the code of this session". As a field's name "code" says nothing.
OF_A_SIGN_UP = lazy_pattern(
    r"\bcode\b(?![\\\"])|\botp\b|sign-?\s?up|registration|register|verif|invit", re.IGNORECASE
)

ServerEra: TypeAlias = Literal["bare", "legacy", "modern"]


@frozen
class NegotiatedProtocol:
    """What client and server agreed on.

    Attributes:
        era: The era of the server.
        version: The version of MCP, where the era has one.
        session_id: The id that the server gave with its answer to ``initialize``. It is a credential.
    """

    era: ServerEra
    version: str = ""
    session_id: Secret | None = None


BARE = NegotiatedProtocol("bare")
MODERN = NegotiatedProtocol("modern", MODERN_VERSION)


@frozen(eq=False, repr=False)
class Step:
    """One message of a negotiation, and the protocol in which it is written."""

    protocol: NegotiatedProtocol
    method: str
    params: Mapping[str, JSON] = field(factory=dict["str", "JSON"])
    notification: bool = False


async def negotiate(
    send: Callable[[Step], Awaitable[Response]], *, probe: bool = True
) -> NegotiatedProtocol | Response:
    """Find out what a server speaks: ``server/discover`` first, then ``initialize``.

    Args:
        send: Sends a message, and returns the answer to it.
        probe: Whether ``server/discover`` comes first. If not, it comes where ``initialize`` finds nothing.

    Returns:
        What was agreed, or an answer that stands for the call's own: the call would have got the same.

    Raises:
        NotSentError: The server speaks nothing that this client knows, or it failed. No call was sent.
    """
    discovered: Response | None = None
    if probe:
        discovered = await send(Step(MODERN, "server/discover"))
        if _names_our_version_in_a_refusal(discovered):
            # A server that was just upgraded refuses a version and names it in one answer.
            discovered = await send(Step(MODERN, "server/discover"))
        found = _judge_discovery(discovered)
        if found is not None:
            return found
    initialized = await send(Step(BARE, "initialize", INITIALIZE_PARAMS))
    protocol = _judge_initialize(initialized)
    if protocol is None and initialized.status in NO_SUCH_ENDPOINT:
        if discovered is None:
            # The server may have been upgraded since its era was found.
            discovered = await send(Step(MODERN, "server/discover"))
            found = _judge_discovery(discovered)
            if found is not None:
                return found
        raise NotSentError(
            "The server speaks MCP in no way that this client knows: to server/discover it "
            f"{_describe(discovered)}; to initialize it {_describe(initialized)}. The call was not sent.",
            permanent=True,
            next_step="Check that the endpoint is the address of an MCP endpoint.",
        )
    if protocol is None:
        # The first failure says more than the second one, which a broken server made of the next request.
        failed = discovered is not None and discovered.status in SERVER_ERRORS
        return _early_response(cast("Response", discovered) if failed else initialized)
    if protocol.era == "legacy":
        await send(Step(protocol, "notifications/initialized", notification=True))
    return protocol


def _judge_discovery(response: Response) -> NegotiatedProtocol | Response | None:
    """Return what the answer decides, or None where the server may speak the legacy era."""
    code = _code(response)
    supported = _supported_versions(response)
    if MODERN_VERSION in supported:
        return MODERN
    if code == UNSUPPORTED_VERSION and supported and not set(supported) & set(LEGACY_VERSIONS):
        raise _unknown_versions(supported)
    if code in {HEADER_MISMATCH, MISSING_CAPABILITY}:
        raise NotSentError(
            f"The server refused the headers or capabilities of this client ({code}). The call was not sent.",
            permanent=True,
            next_step="Look for a proxy that takes away headers beginning with Mcp-.",
        )
    return response if response.status in NO_EVIDENCE or response.status in REDIRECTS else None


def _judge_initialize(response: Response) -> NegotiatedProtocol | None:
    """Return what the answer decides, or None where it decides nothing."""
    result = response.result
    version = result.get("protocolVersion") if isinstance(result, dict) else None
    if isinstance(version, str):
        if version not in LEGACY_VERSIONS:
            raise _unknown_versions([version])
        return NegotiatedProtocol("legacy", version, _session_id(response))
    if _code(response) == METHOD_NOT_FOUND:
        return BARE
    return MODERN if _names_our_version_in_a_refusal(response) else None


def _session_id(response: Response) -> Secret | None:
    """Return the session id of an answer to ``initialize``. No other answer begins a session."""
    given = response.headers.get("mcp-session-id")
    if given is None:
        return None
    if VISIBLE.fullmatch(given):
        return Secret(given)
    raise NotSentError("The server's session id holds characters that no header may. The call was not sent.")


def _names_our_version_in_a_refusal(response: Response) -> bool:
    return _code(response) == UNSUPPORTED_VERSION and MODERN_VERSION in _supported_versions(response)


def _supported_versions(response: Response) -> list[str]:
    """Return the versions that a server names in a discovery, or in the refusal of a version."""
    named: JSON = None
    if isinstance(response.result, dict):
        named = response.result.get("supportedVersions")
    elif response.error and response.error.code == UNSUPPORTED_VERSION:
        data = response.error.data
        named = data.get("supported") if isinstance(data, dict) else None
    return [version for version in named if isinstance(version, str)] if isinstance(named, list) else []


def _code(response: Response) -> int | None:
    return response.error.code if response.error else None


def _early_response(response: Response) -> Response:
    """Return the answer as the call's own.

    Raises:
        NotSentError: As the call's own, the answer would mean that the call may have run.
    """
    busy = response.status == HTTPStatus.SERVICE_UNAVAILABLE and "retry-after" in response.headers
    failed = response.status in SERVER_ERRORS and not busy
    if response.complete and not failed and response.result is None:
        return response
    raise NotSentError(f"The server {_describe(response)} before the call was sent.")


def _unknown_versions(offered: Iterable[str]) -> NotSentError:
    named = clean(", ".join(offered))
    return NotSentError(
        f"The server speaks no version of MCP that this client knows: {named}. The call was not sent.",
        permanent=True,
        next_step="Look for a newer version of this package.",
    )


def _describe(response: Response) -> str:
    """Say what a server answered that spoke no known era."""
    answered = f"answered HTTP {response.status}"
    if response.error:
        return f"{answered} with the JSON-RPC error {response.error.code}"
    return f"{answered} without a known result" if response.status in SUCCESS else answered


class Recovery(Enum):
    """What has to happen before a call that did not run may be sent again."""

    NEGOTIATE = auto()
    INITIALIZE = auto()
    LIST_TOOLS = auto()


def find_recovery(protocol: NegotiatedProtocol, response: Response, *, has_answered: bool) -> Recovery | None:
    """Return what to do after an answer that proves that the call did not run, or None for any other answer.

    Args:
        protocol: The protocol in which the call was written.
        response: The answer.
        has_answered: Whether a call was answered in this protocol before.
    """
    code, status = _code(response), response.status
    if response.result is not None:
        return None
    if code == UNSUPPORTED_VERSION:
        return Recovery.NEGOTIATE
    if protocol.session_id and _session_is_over(response):
        return Recovery.INITIALIZE
    # With success, or with a failure of the server, the answer may be the tool's own.
    if status not in REFUSALS or status in NO_EVIDENCE:
        return None
    if protocol.era == "modern" and code == HEADER_MISMATCH:
        return Recovery.LIST_TOOLS
    return Recovery.NEGOTIATE if _speaks_another_era(protocol, response, has_answered=has_answered) else None


def _session_is_over(response: Response) -> bool:
    """Tell whether the session has ended. The specification says 404; several servers say it in other ways.

    With success, only an error with a code of the server itself proves that the call did not run.
    """
    words = _words(response)
    match response.status:
        case HTTPStatus.NOT_FOUND:
            return _has_no_reason(response) or not OF_A_SIGN_UP.search(words)
        case HTTPStatus.GONE:
            return _has_no_reason(response) or _names_a_session(words)
        case HTTPStatus.BAD_REQUEST:
            return _names_a_session(words)
        case _:
            over = _code(response) in SERVER_CODES and SESSION_IS_OVER.search(words)
            return response.status in SUCCESS and bool(over) and _names_a_session(words)


def _names_a_session(words: str) -> bool:
    """Tell whether words are about a session of MCP, and not about a sign-up."""
    return "session" in words.lower() and not OF_A_SIGN_UP.search(words)


def _has_no_reason(response: Response) -> bool:
    """Tell whether an answer is its status alone: without a body, or with a page for people."""
    return response.error is None and response.body.lstrip()[:1] in {"", "<"}


def _speaks_another_era(protocol: NegotiatedProtocol, response: Response, *, has_answered: bool) -> bool:
    code, modern = _code(response), protocol.era == "modern"
    words = _words(response)
    if code in LEGACY_CODES and (SPEAKS_OF_THE_ERA.search(words) or _names_a_session(words)):
        return True
    if not modern and (code == HEADER_MISMATCH or (code == INVALID_PARAMS and META in words)):
        return True
    doubtful = response.error is None if modern else not has_answered
    return doubtful and response.status in NOT_UNDERSTOOD and _was_not_understood(response)


def _words(response: Response) -> str:
    return response.error.message if response.error else response.body


def _was_not_understood(response: Response) -> bool:
    """Tell whether the request was not understood. A tool that refuses gives a reason in JSON."""
    if response.error is not None:
        return response.error.code in NEVER_RAN
    return not isinstance(as_json(response.body), dict)
