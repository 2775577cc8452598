"""Which protocol era a server speaks, and what proves that it speaks another.

There is no input or output here. `negotiate` is a generator: it yields what to send and is sent what came back, so
that the blocking and the asynchronous side drive the same decisions. `find_remedy` decides, from an answer,
whether the call certainly did not run and what has to happen before it may be sent again.

The eras, with the versions of MCP that they cover:

- ``bare``: one message for each call, no handshake. What FavCRM takes.
- ``session``: ``initialize`` first; 2024-11-05 to 2025-11-25.
- ``modern``: the version and the client in every request; 2026-07-28.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from attrs import evolve, field, frozen

import favcrm
from favcrm._mcp.payloads import as_json
from favcrm._patterns import lazy_pattern
from favcrm._text import clean
from favcrm.errors import NotSentError
from favcrm.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping

    from favcrm.transport import Response
    from favcrm.typing import JSON

MODERN_VERSIONS = ("2026-07-28",)
LEGACY_VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
CLIENT_INFO: Mapping[str, JSON] = {"name": "favcrm-python", "version": favcrm.__version__}
META = "io.modelcontextprotocol/"

# JSON-RPC codes. Those from -32020 on are reserved for MCP, so they prove a server that knows 2026-07-28.
PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
HEADER_MISMATCH = -32020
MISSING_CAPABILITY = -32021
UNSUPPORTED_VERSION = -32022
LEGACY_CODES = {INVALID_REQUEST, -32000, -32002}
NEVER_RAN = {PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND}
# Codes with which a server speaks for itself; of a tool's own failures they say nothing.
SERVER_CODES = {INVALID_REQUEST, *range(-32099, -31999)}

BAD_REQUEST = 400
UNAUTHORIZED = 401
NOT_FOUND = 404
SERVICE_UNAVAILABLE = 503
REFUSALS = range(400, 500)
SERVER_ERRORS = range(500, 600)
REDIRECTS = range(300, 400)
SUCCESS = range(200, 300)
# Statuses that speak of the caller or the moment, never of the era.
NO_EVIDENCE = {UNAUTHORIZED, 403, 407, 408, 413, 429}
NO_SUCH_ENDPOINT = {BAD_REQUEST, NOT_FOUND, 405}
STRANGE_REQUEST = {*NO_SUCH_ENDPOINT, 406}
SPEAKS_OF_THE_ERA = lazy_pattern(r"initiali[sz]|protocol version", re.IGNORECASE)
SESSION_IS_OVER = lazy_pattern(
    r"session( id)? (is |was |has |has been |does )?"
    r"(not found|not exist|unknown|invalid|expired|terminated|closed|ended|lost|gone|no longer)"
    r"|(unknown|invalid|expired|terminated|missing|no such|no valid|no) (mcp[ -])?session",
    re.IGNORECASE,
)
# In a sign-up "expired" speaks of the code, also of the code of a session; as the name of a field "code" says nothing.
OF_A_SIGN_UP = lazy_pattern(
    r"\bcode\b(?![\\\"])|\botp\b|sign-?\s?up|registration|register|verif|invit", re.IGNORECASE
)
VISIBLE = lazy_pattern("[!-~]+")

WRONG_ADDRESS = "Check that the endpoint is the address of an MCP endpoint."

Behaviour: TypeAlias = Literal["bare", "session", "modern"]


@frozen
class Agreement:
    """How a server is spoken to.

    Attributes:
        era: Which behaviour it has.
        version: The version of MCP, where the era has one.
        session_id: What the server gave with its answer to ``initialize``. A credential.
    """

    era: Behaviour
    version: str = ""
    session_id: Secret | None = None


BARE = Agreement("bare")
MODERN = Agreement("modern", MODERN_VERSIONS[0])


@frozen(eq=False, repr=False)
class Step:
    """One message of a negotiation, and the agreement under which it is written."""

    under: Agreement
    method: str
    params: Mapping[str, JSON] = field(factory=dict["str", "JSON"])
    notification: bool = False


Negotiation: TypeAlias = "Generator[Step, Response, Agreement | Response]"
"""Yields steps and is sent their answers; returns what was agreed, or the answer that stands for the call's own."""


def negotiate(*, probe: bool = True) -> Negotiation:
    """Find out what a server speaks: ask it, then try ``initialize``.

    Args:
        probe: Whether to ask with ``server/discover`` first, and not only where nothing else is found.

    Raises:
        NotSentError: It speaks nothing that this client knows, or it failed. No call was sent.
    """
    discovered: Response | None = None
    if probe:
        discovered = yield Step(MODERN, "server/discover")
        if _offers(discovered) and _code(discovered) == UNSUPPORTED_VERSION:
            # It speaks our version and still refused the request, as a server that has just changed does.
            discovered = yield Step(MODERN, "server/discover")
        verdict = _judge_discovery(discovered)
        if verdict is not None:
            return verdict
    initialized = yield Step(BARE, "initialize", initialize_params(LEGACY_VERSIONS[0]))
    agreement = _judge_initialize(initialized)
    if agreement is None and initialized.status in NO_SUCH_ENDPOINT:
        if discovered is None:
            # What was known of it is not so any more; it may be a modern one by now.
            discovered = yield Step(MODERN, "server/discover")
            verdict = _judge_discovery(discovered)
            if verdict is not None:
                return verdict
        raise _no_era(server_discover=discovered, initialize=initialized)
    if agreement is None:
        # The first failure says more than what a broken server made of the second request.
        failed = discovered is not None and discovered.status in SERVER_ERRORS
        return stand_in(cast("Response", discovered) if failed else initialized)
    if agreement.era == "session":
        yield Step(agreement, "notifications/initialized", notification=True)
    return agreement


def initialize_params(version: str) -> Mapping[str, JSON]:
    """Return with what a session begins: no capabilities, which a server would use in requests of its own."""
    return {"protocolVersion": version, "capabilities": {}, "clientInfo": CLIENT_INFO}


def _judge_discovery(response: Response) -> Agreement | Response | None:
    """Return the verdict, or None where the server may be one that is initialized."""
    code = _code(response)
    if offered := _offers(response):
        return evolve(MODERN, version=offered)
    supported = _supported(response)
    if code == UNSUPPORTED_VERSION and supported and not set(supported) & set(LEGACY_VERSIONS):
        raise _unknown_versions(supported)
    if code in {HEADER_MISMATCH, MISSING_CAPABILITY}:
        raise NotSentError(
            f"The server refused the headers or capabilities of this client ({code}). The call was not sent.",
            permanent=True,
            next_step="Look for a proxy that takes away headers beginning with Mcp-.",
        )
    status = response.status or 0
    return response if status in NO_EVIDENCE or status in REDIRECTS else None


def _judge_initialize(response: Response) -> Agreement | None:
    if isinstance(response.result, dict) and isinstance(
        version := response.result.get("protocolVersion"), str
    ):
        if version not in LEGACY_VERSIONS:
            raise _unknown_versions([version])
        return Agreement("session", version, _session_id(response))
    if _code(response) == METHOD_NOT_FOUND:
        return BARE
    if _code(response) == UNSUPPORTED_VERSION and (offered := _offers(response)):
        return evolve(MODERN, version=offered)
    return None


def _session_id(response: Response) -> Secret | None:
    """Return the session that an answer to ``initialize`` gives; of no other answer is it taken."""
    given = response.headers.get("mcp-session-id")
    if given is None:
        return None
    if VISIBLE.fullmatch(given):
        return Secret(given)
    raise NotSentError("The server's session id holds characters that no header may. The call was not sent.")


def _offers(response: Response) -> str | None:
    """Return the newest modern version that a server names and this client knows."""
    supported = _supported(response)
    return next((version for version in MODERN_VERSIONS if version in supported), None)


def _supported(response: Response) -> list[str]:
    named: JSON = None
    if isinstance(response.result, dict):
        named = response.result.get("supportedVersions")
    elif response.error and response.error.code == UNSUPPORTED_VERSION:
        data = response.error.data
        named = data.get("supported") if isinstance(data, dict) else None
    return [version for version in named if isinstance(version, str)] if isinstance(named, list) else []


def _code(response: Response) -> int | None:
    return response.error.code if response.error else None


def stand_in(response: Response) -> Response:
    """Return the answer as the call's own, unless that would make the call look as if it may have run."""
    busy = response.status == SERVICE_UNAVAILABLE and "retry-after" in response.headers
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


def _no_era(**answers: Response | None) -> NotSentError:
    told = "; ".join(
        f"to {name.replace('_', '/')} it {_describe(answer)}" for name, answer in answers.items() if answer
    )
    return NotSentError(
        f"The server speaks MCP in no way that this client knows: {told}. The call was not sent.",
        permanent=True,
        next_step=WRONG_ADDRESS,
    )


def _describe(response: Response) -> str:
    status = "" if response.status is None else f" HTTP {response.status}"
    if response.error:
        return f"answered{status} with the JSON-RPC error {response.error.code}"
    failed = response.status is not None and response.status not in range(200, 300)
    return f"answered{status}" if failed else f"answered{status} without a known result"


class Remedy(Enum):
    """What has to happen before a call that did not run may be sent again."""

    NEGOTIATE = auto()
    INITIALIZE = auto()
    LIST_TOOLS = auto()


def find_remedy(agreement: Agreement, response: Response, *, confirmed: bool) -> Remedy | None:
    """Return what to do about an answer that proves that the call did not run, or None where it is the answer.

    Args:
        agreement: How the call was sent.
        response: What came back.
        confirmed: Whether a call was answered under this agreement before.
    """
    error, status = response.error, response.status
    if response.result is not None or (error is None and (status is None or status < BAD_REQUEST)):
        return None
    code = _code(response)
    if code == UNSUPPORTED_VERSION:
        return Remedy.NEGOTIATE
    if agreement.session_id and _session_is_over(response):
        return Remedy.INITIALIZE
    # With success or a failure of the server's, the tool itself may have answered.
    if status not in REFUSALS or status in NO_EVIDENCE:
        return None
    if agreement.era == "modern" and code == HEADER_MISMATCH:
        return Remedy.LIST_TOOLS
    return Remedy.NEGOTIATE if _speaks_another_era(agreement, response, confirmed=confirmed) else None


def _session_is_over(response: Response) -> bool:
    """Tell whether the session has ended: 404 by the specification, the rest by what several servers do.

    With success only an error of the server's own that says so proves that the call did not run.
    """
    words = _words(response)
    match response.status:
        case 404:
            return _is_bare(response) or not OF_A_SIGN_UP.search(words)
        case 410:
            return _is_bare(response) or _names_a_session(words)
        case 400:
            return _names_a_session(words)
        case _:
            over = _code(response) in SERVER_CODES and SESSION_IS_OVER.search(words)
            return response.status in SUCCESS and bool(over) and _names_a_session(words)


def _names_a_session(words: str) -> bool:
    """Tell whether words are about a session of the protocol's, and not about a sign-up."""
    return "session" in words.lower() and not OF_A_SIGN_UP.search(words)


def _is_bare(response: Response) -> bool:
    """Tell an answer that gives its status alone: nothing with it, or a page."""
    return response.error is None and response.body.lstrip()[:1] in {"", "<"}


def _speaks_another_era(agreement: Agreement, response: Response, *, confirmed: bool) -> bool:
    code, modern = _code(response), agreement.era == "modern"
    words = _words(response)
    if code in LEGACY_CODES and (SPEAKS_OF_THE_ERA.search(words) or _names_a_session(words)):
        return True
    if not modern and (code == HEADER_MISMATCH or (code == INVALID_PARAMS and META in words)):
        return True
    doubtful = response.error is None if modern else not confirmed
    return doubtful and response.status in STRANGE_REQUEST and _gives_no_reason(response)


def _words(response: Response) -> str:
    return response.error.message if response.error else response.body


def _gives_no_reason(response: Response) -> bool:
    """Tell an answer of somebody who did not understand from one of a tool that says no."""
    if response.error is not None:
        return response.error.code in NEVER_RAN
    return not isinstance(as_json(response.body), dict)
