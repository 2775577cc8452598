"""What a server speaks, decided without a server: the answers of real ones, and what each failure proves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from attrs import frozen

from favcrm import NotSentError, Secret
from favcrm._backends import run_sync
from favcrm._mcp.negotiation import (
    BARE,
    CLIENT_INFO,
    LEGACY_VERSIONS,
    MODERN,
    NegotiatedProtocol,
    Recovery,
    Step,
    find_recovery,
    negotiate,
)
from favcrm.transport import JSONRPCError, Response

if TYPE_CHECKING:
    from favcrm.typing import JSON

MODERN_VERSION = "2026-07-28"
NAMES = "io.modelcontextprotocol/protocolVersion is missing"


def result(value: JSON, **headers: str) -> Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(result=value, status=200, headers=names)


def refusal(status: int, code: int, message: str = "", data: JSON = None) -> Response:
    return Response(error=JSONRPCError(code, message, data), status=status)


def plain(status: int, body: str = "", *, defect: str = "is no JSON-RPC answer", **headers: str) -> Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status=status, body=body, defect=defect, headers=names)


def session(version: str = LEGACY_VERSIONS[0], **headers: str) -> Response:
    return result({"protocolVersion": version, "capabilities": {}, "serverInfo": {}}, **headers)


DISCOVERED = result({"supportedVersions": [MODERN_VERSION], "capabilities": {}})
NO_SESSION = refusal(400, -32600, "Bad Request: Missing session ID")
TAKEN = plain(202, defect="is empty")
SESSION = NegotiatedProtocol("legacy", LEGACY_VERSIONS[0])
OPEN = NegotiatedProtocol("legacy", LEGACY_VERSIONS[0], Secret("a-session"))


@frozen
class Played:
    """A negotiation, and what came of it."""

    steps: list[Step]
    found: NegotiatedProtocol | Response | NotSentError

    @property
    def said(self) -> list[str]:
        return [step.method for step in self.steps]


def play(*answers: Response, probe: bool = True) -> Played:
    """Answer the steps of a negotiation in turn; every answer is needed."""
    steps: list[Step] = []
    waiting = list(answers)

    async def send(step: Step) -> Response:
        steps.append(step)
        return waiting.pop(0)

    found: NegotiatedProtocol | Response | NotSentError
    try:
        found = run_sync(negotiate(send, probe=probe))
    except NotSentError as error:
        found = error
    assert not waiting
    return Played(steps, found)


def failed(played: Played) -> NotSentError:
    assert isinstance(played.found, NotSentError)
    assert "not sent" in str(played.found) or "before the call was sent" in str(played.found)
    return played.found


# The servers of today

PROBED = ["server/discover", "initialize"]
BEGUN = [*PROBED, "notifications/initialized"]
SERVERS: dict[str, tuple[list[Response], NegotiatedProtocol, list[str]]] = {
    "mcp 2.3 and fastmcp 4": ([DISCOVERED], MODERN, ["server/discover"]),
    "TypeScript 2.4, modern only, that was asked while it changed": (
        [refusal(400, -32022, "Unsupported", {"supported": [MODERN_VERSION]}), DISCOVERED],
        MODERN,
        ["server/discover", "server/discover"],
    ),
    "mcp 1.28, stateful": ([NO_SESSION, session(mcp_session_id="a-session"), TAKEN], OPEN, BEGUN),
    "mcp 1.28, stateless": (
        [refusal(400, -32600, "Unsupported protocol version: 2026-07-28"), session(), TAKEN],
        SESSION,
        BEGUN,
    ),
    "TypeScript 1.32, stateful": (
        [
            refusal(400, -32000, "Bad Request: No valid session ID provided"),
            session(mcp_session_id="a-session"),
            TAKEN,
        ],
        OPEN,
        BEGUN,
    ),
    "one that fails at an unknown method": (
        [refusal(500, -32603, "Internal error"), session(), TAKEN],
        SESSION,
        BEGUN,
    ),
    "FavCRM, without initialize": (
        [refusal(200, -32601, "Method not found"), refusal(200, -32601, "Method not found")],
        BARE,
        PROBED,
    ),
    "FavCRM, at an address that refuses an unknown method": (
        [plain(400, "<html>"), refusal(404, -32601, "Method not found")],
        BARE,
        PROBED,
    ),
    "one that names only older versions": (
        [refusal(400, -32022, "Unsupported", {"supported": ["2025-11-25", "2025-06-18"]}), session(), TAKEN],
        SESSION,
        BEGUN,
    ),
    "one that answers everything with success": ([result({"content": []}), session(), TAKEN], SESSION, BEGUN),
    "one that answers with a page": ([plain(200, "<html>"), session(), TAKEN], SESSION, BEGUN),
    "one that says nothing": ([plain(202, defect="is empty"), session(), TAKEN], SESSION, BEGUN),
    "one whose list of versions is none": (
        [result({"supportedVersions": MODERN_VERSION}), session(), TAKEN],
        SESSION,
        BEGUN,
    ),
    "one that knows more versions than we": (
        [result({"supportedVersions": ["2027-01-01", 7, MODERN_VERSION]})],
        MODERN,
        ["server/discover"],
    ),
    "one that knows only newer versions, and older ones of a session": (
        [result({"supportedVersions": ["2027-01-01"]}), session(), TAKEN],
        SESSION,
        BEGUN,
    ),
    "one that became modern between two questions": (
        [NO_SESSION, refusal(400, -32022, "Unsupported", {"supported": [MODERN_VERSION]})],
        MODERN,
        PROBED,
    ),
}


@pytest.mark.parametrize("server", SERVERS)
def test_the_answers_of_a_server_tell_its_era(server: str) -> None:
    answers, protocol, said = SERVERS[server]
    played = play(*answers)
    assert played.found == protocol
    assert played.said == said


@pytest.mark.parametrize("taken", [TAKEN, plain(200, "{}"), plain(500), refusal(400, -32600)])
def test_no_answer_to_initialized_changes_the_era(taken: Response) -> None:
    assert play(NO_SESSION, session(), taken).found == SESSION


@pytest.mark.parametrize("version", LEGACY_VERSIONS)
def test_an_older_version_of_the_server_is_agreed_to(version: str) -> None:
    played = play(NO_SESSION, session(version), TAKEN)
    assert played.found == NegotiatedProtocol("legacy", version)
    assert played.steps[-1].protocol == played.found


def test_each_step_is_written_in_its_own_protocol() -> None:
    played = play(NO_SESSION, session(mcp_session_id="a-session"), TAKEN)
    discover, initialize, initialized = played.steps
    assert (discover.protocol, discover.params, discover.notification) == (MODERN, {}, False)
    assert (initialize.protocol, initialize.notification) == (BARE, False)
    assert initialize.params == {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": CLIENT_INFO,
    }
    assert (initialized.protocol, initialized.params, initialized.notification) == (OPEN, {}, True)


def test_without_a_probe_initialize_comes_first() -> None:
    played = play(session(mcp_session_id="another"), TAKEN, probe=False)
    assert played.said == ["initialize", "notifications/initialized"]
    assert played.found == NegotiatedProtocol("legacy", LEGACY_VERSIONS[0], Secret("another"))


def test_a_session_id_on_a_refusal_begins_no_session() -> None:
    refused = Response(
        error=JSONRPCError(-32600, "Missing session ID"),
        status=400,
        headers={"mcp-session-id": "of an error"},
    )
    assert play(refused, session(), TAKEN).found == SESSION


@pytest.mark.parametrize("given", ["two words", "line\nend", "", "caf\xe9"])
def test_a_session_id_that_no_header_can_hold_raises_not_sent_error(given: str) -> None:
    error = failed(play(NO_SESSION, session(mcp_session_id=given)))
    assert "session id holds characters" in str(error)
    assert not given.strip() or given not in str(error)


def test_the_repr_hides_the_session_id() -> None:
    played = play(NO_SESSION, session(mcp_session_id="a-session"), TAKEN)
    assert "a-session" not in f"{played.found!r}{played.found}"


# No verdict

STAND_INS = {status: plain(status, "told by a proxy") for status in (401, 403, 407, 408, 413, 429, 301, 307)}


@pytest.mark.parametrize("status", STAND_INS)
def test_a_refusal_of_the_caller_is_the_answer_to_the_call(status: int) -> None:
    """It is the answer to the call, which would have got the same."""
    assert play(STAND_INS[status]).found is STAND_INS[status]
    assert play(NO_SESSION, STAND_INS[status]).found is STAND_INS[status]


def test_a_503_with_retry_after_is_the_answer_to_the_call() -> None:
    busy = plain(503, retry_after="5")
    assert play(busy, busy).found is busy


@pytest.mark.parametrize(
    "answers",
    [
        [plain(500), plain(500)],
        [plain(503, retry_after="5"), plain(500)][::-1],
        [NO_SESSION, plain(503)],
        [NO_SESSION, Response(status=200, complete=False)],
        [NO_SESSION, result({})],
        [NO_SESSION, refusal(502, -32603)],
    ],
    ids=["twice", "first, busy then", "busy without a time", "cut", "no known result", "with an error"],
)
def test_a_failure_of_the_server_raises_not_sent_error(answers: list[Response]) -> None:
    """To the call itself such an answer would mean that it may have run."""
    error = failed(play(*answers))
    assert not error.permanent


def test_the_error_names_the_first_of_two_failures() -> None:
    assert "HTTP 500" in str(failed(play(plain(500), plain(502))))


def test_an_error_to_initialize_is_the_answer_to_the_call() -> None:
    refused = refusal(200, -32603, "Internal error")
    assert play(NO_SESSION, refused).found is refused


@pytest.mark.parametrize(
    ("answers", "named"),
    [
        ([refusal(400, -32022, "", {"supported": ["2027-01-01", "2028\n"]})], "2027-01-01, 2028"),
        ([NO_SESSION, session("2027-01-01")], "2027-01-01"),
        ([NO_SESSION, session(MODERN_VERSION)], MODERN_VERSION),
    ],
)
def test_unknown_versions_are_named_in_the_error(answers: list[Response], named: str) -> None:
    error = failed(play(*answers))
    assert str(error).startswith(
        f"The server speaks no version of MCP that this client knows: {named}. The call was not sent."
    )
    assert error.permanent
    assert "newer version" in error.next_step


@pytest.mark.parametrize(
    "data", [None, {}, {"supported": "2027-01-01"}, {"supported": [7]}, [MODERN_VERSION]]
)
def test_a_refused_version_without_others_leads_to_initialize(data: JSON) -> None:
    assert play(refusal(400, -32022, "", data), session(), TAKEN).found == SESSION


def test_a_version_that_is_named_in_two_refusals_is_agreed_to() -> None:
    refused = refusal(400, -32022, "", {"supported": [MODERN_VERSION]})
    assert play(refused, refused).found == MODERN


@pytest.mark.parametrize("code", [-32020, -32021])
def test_missing_headers_raise_an_error_that_names_a_proxy(code: int) -> None:
    error = failed(play(refusal(400, code)))
    assert f"({code})" in str(error)
    assert error.permanent
    assert "proxy" in error.next_step


@pytest.mark.parametrize("status", [400, 404, 405])
def test_a_server_of_no_known_era_raises_an_error_with_both_answers(status: int) -> None:
    error = failed(play(refusal(400, -32600, "no"), plain(status)))
    assert str(error).startswith(
        "The server speaks MCP in no way that this client knows: to server/discover it answered HTTP 400 with the "
        f"JSON-RPC error -32600; to initialize it answered HTTP {status}."
    )
    assert error.permanent


def test_the_error_names_discovery_before_initialize() -> None:
    error = failed(play(plain(404), plain(404), probe=False))
    assert "to server/discover it answered HTTP 404; to initialize it answered HTTP 404." in str(error)


@pytest.mark.parametrize("refused", [plain(404), refusal(400, -32020), refusal(400, -32602)])
def test_a_refused_initialize_leads_to_discovery(refused: Response) -> None:
    played = play(refused, DISCOVERED, probe=False)
    assert played.said == ["initialize", "server/discover"]
    assert played.found == MODERN


# What an answer proves

ERAS = {"bare": BARE, "a session without id": SESSION, "a session": OPEN, "modern": MODERN}
OLDER = {"bare", "a session without id", "a session"}
ALL = set(ERAS)
WITHOUT_ID = ALL - {"a session"}


@frozen
class Row:
    """A failure, and what it proves in which eras: whether a call was answered before, or not."""

    response: Response
    confirmed: dict[str, Recovery]
    doubtful: dict[str, Recovery]


def row(
    response: Response,
    negotiate: set[str] | None = None,
    initialize: set[str] | None = None,
    unconfirmed: set[str] | None = None,
    list_tools: set[str] | None = None,
) -> Row:
    """Say in which eras there is which remedy; ``unconfirmed`` names those that negotiate only before an answer."""
    always = (
        dict.fromkeys(negotiate or set(), Recovery.NEGOTIATE)
        | dict.fromkeys(initialize or set(), Recovery.INITIALIZE)
        | dict.fromkeys(list_tools or set(), Recovery.LIST_TOOLS)
    )
    return Row(response, always, always | dict.fromkeys(unconfirmed or set(), Recovery.NEGOTIATE))


PAGE = "<html>Not here</html>"
REASON = '{"error": {"code": "INVALID_CODE", "message": "no such session"}}'
EVIDENCE: dict[str, Row] = {
    "unsupported version, 400": row(refusal(400, -32022), negotiate=ALL),
    "unsupported version, 200": row(refusal(200, -32022), negotiate=ALL),
    "header mismatch": row(refusal(400, -32020), negotiate=OLDER, list_tools={"modern"}),
    "header mismatch, 200": row(refusal(200, -32020)),
    "a result, though not found": row(Response(status=404, result={})),
    "invalid params that name MCP's own": row(refusal(400, -32602, NAMES), negotiate=OLDER),
    "invalid params": row(refusal(400, -32602, "service_id is missing")),
    "invalid params that name MCP's own, 200": row(refusal(200, -32602, NAMES)),
    "missing capability": row(refusal(400, -32021)),
    **{
        f"{words}, {code}": row(refusal(400, code, words), negotiate=WITHOUT_ID, initialize={"a session"})
        for code, words in (
            (-32600, "Bad Request: No valid SESSION ID provided"),
            (-32000, "Session not initialized"),
            (-32002, "Session not initialized"),
        )
    },
    **{
        f"{words}, {code}": row(refusal(400, code, words), negotiate=ALL)
        for code, words in (
            (-32600, "Server not initialized"),
            (-32000, "not initialised"),
            (-32002, "Unsupported protocol version"),
        )
    },
    **{
        f"{words}, {code}, 200": row(refusal(200, code, words), initialize={"a session"})
        for code, words in (
            (-32600, "Session not found"),
            (-32000, "session expired"),
            (-32001, "Session has been terminated"),
            (-32099, "The session ID is invalid."),
            (-32001, "Unknown MCP session"),
            (-32000, "Bad Request: No valid session ID provided"),
        )
    },
    **{
        f"session not found, {code}, 200": row(refusal(200, code, "Session not found"))
        for code in (-32602, -32603, -32700, -32601, -31999, 404)
    },
    **{
        f"{words}, {status}": row(refusal(status, -32000, words))
        for status in (200, 400)
        for words in (
            "This session's code has expired",
            "Your sign-up session has expired",
            "Verification session not found",
            "Registration session expired",
            "OTP session expired",
        )
    },
    **{
        f"{words}, 200": row(refusal(200, -32000, words))
        for words in ("The invited session is closed", "A session was booked", "expired")
    },
    "a protocol version with a code": row(
        refusal(400, -32000, "Unsupported protocol version, error code 5"), negotiate=ALL
    ),
    "a session in the words of a tool": row(
        result({"isError": True, "content": [{"type": "text", "text": "Session not found"}]})
    ),
    "a session that broke off, 200": row(Response(status=200, body="Session not found", complete=False)),
    "not found, with a page to register": row(
        plain(404, "<html>Register here</html>"),
        negotiate={"modern"},
        initialize={"a session"},
        unconfirmed=OLDER - {"a session"},
    ),
    "gone, with nothing": row(plain(410), initialize={"a session"}),
    "gone, with an error": row(refusal(410, -32001, "Session not found"), initialize={"a session"}),
    "gone, in plain words": row(plain(410, "session expired"), initialize={"a session"}),
    "gone, the code": row(plain(410, "The code has expired")),
    "gone, a reason": row(plain(410, '{"error": {"code": "CODE_EXPIRED", "message": "Expired."}}')),
    "gone, an error about a code": row(refusal(410, -32000, "This session's code has expired")),
    "not found, about a sign-up": row(plain(404, '{"error": "registration request not found"}')),
    "a session, 422": row(refusal(422, -32000, "session expired"), negotiate=ALL),
    "another code about a session": row(refusal(400, -32001, "session expired"), initialize={"a session"}),
    "not found, with a page": row(
        plain(404, PAGE), negotiate={"modern"}, initialize={"a session"}, unconfirmed=OLDER - {"a session"}
    ),
    "not found, with a method": row(
        refusal(404, -32601), initialize={"a session"}, unconfirmed=OLDER - {"a session"}
    ),
    "not found, with a reason": row(plain(404, REASON), initialize={"a session"}),
    "a session in plain words": row(
        plain(400, "Bad Request: no valid Session"),
        negotiate={"modern"},
        initialize={"a session"},
        unconfirmed=OLDER - {"a session"},
    ),
    "a session in a reason": row(plain(400, REASON), initialize={"a session"}),
    **{
        f"{status}, with a page": row(plain(status, PAGE), negotiate={"modern"}, unconfirmed=OLDER)
        for status in (400, 405, 406)
    },
    "405, with a reason": row(plain(405, '{"error": "no"}')),
    **{
        f"{status} and {code}": row(refusal(status, code), unconfirmed=OLDER)
        for status, code in ((400, -32700), (405, -32600), (406, -32601))
    },
    "400 of a tool": row(refusal(400, -32603, "no")),
    "422 without a reason": row(plain(422, PAGE)),
    **{
        f"{status}, whatever it says": row(refusal(status, -32600, "session not initialized"))
        for status in (401, 403, 407, 408, 413, 429, 500, 503)
    },
    **{f"{status} with a page": row(plain(status, PAGE)) for status in (200, 307, 401, 500)},
    **{
        f"{code} at 200": row(refusal(200, code, "session not initialized"))
        for code in (-32601, -32603, -32002)
    },
    "an answer": row(result({"content": []})),
    "an answer that broke off": row(Response(status=200, complete=False)),
    "a call that took too many rounds": row(Response(defect="still asks for input after 10 rounds")),
}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("failure", EVIDENCE)
def test_a_call_is_recovered_only_where_it_did_not_run(era: str, failure: str) -> None:
    row = EVIDENCE[failure]
    assert find_recovery(ERAS[era], row.response, has_answered=True) == row.confirmed.get(era)
    assert find_recovery(ERAS[era], row.response, has_answered=False) == row.doubtful.get(era)
