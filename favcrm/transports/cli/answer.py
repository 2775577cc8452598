"""What the command wrote, and how it ended, as an answer to one request.

Some things can only be told from its words: whether a request was sent, and which HTTP status or JSON-RPC error came
back. Where this project's command is asked for JSON, it writes its errors as JSON too.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from attrs import field, frozen

from favcrm._flows.refusals import REASON_FIELDS
from favcrm._mcp import payloads
from favcrm._mcp.jsonrpc import MAX_ANSWER_BYTES
from favcrm._text import clean, without_emails
from favcrm.errors import FavCRMError, InputRequiredError, NotSentError, OutcomeUnknownError, TransportError
from favcrm.transport import JSONRPCError, Response
from favcrm.transports.cli.command import COMMANDS, INSTALL, arguments_of

if TYPE_CHECKING:
    from favcrm.secret import Secret
    from favcrm.typing import JSON

WRONG_USE = 2
"""The exit status of a command that was used wrongly, and so did nothing."""

LAST_WORDS = 200
"""How many characters of a text error are shown."""

SECRET_ARGUMENTS = ("email", "token", "code")
SCHEMAS = {"input_schema": "inputSchema", "output_schema": "outputSchema"}
HTTP_STATUSES = range(100, 600)
TOO_MANY_REQUESTS = 429
SERVICE_UNAVAILABLE = 503

ERROR = re.compile(r"^Error:\s*", re.MULTILINE)
HTTP = re.compile(r"HTTP (\d{3})\b[^:]*? from (\S+?):(?:\s(.*))?$", re.DOTALL)
RPC = re.compile(r"MCP error (-?\d{1,9}):\s?(.*)$", re.DOTALL)
DEFECTS = {
    "MCP response missing result": "has no result",
    "no JSON or SSE payload in response": "is no JSON-RPC answer",
}

WRONG_COMMAND = "Check that the command is FavCRM's, and that it and this package are up to date."
OWN_AUTHORITY = "Check the endpoint's name and certificate; for an authority of your own, set SSL_CERT_FILE."

# Only what happens before a connection is there: where the words are fewer, a request may have been sent.
NEVER_SENT = (
    (re.compile(r'needs the extra "cli"'), "The command cannot run", INSTALL),
    (
        re.compile(r"invalid peer certificate|certificate verify failed", re.IGNORECASE),
        "The endpoint's TLS certificate is not accepted",
        OWN_AUTHORITY,
    ),
    (
        re.compile(
            r"connection refused|dns error|failed to lookup address|tcp connect error|client error \(connect\)",
            re.IGNORECASE,
        ),
        "The endpoint cannot be reached",
        None,
    ),
)
"""By what words, what is said of it, and what to do; nothing where trying again may help."""


@frozen(kw_only=True)
class Ran:
    """One run of the command.

    Attributes:
        output: What it wrote on stdout.
        errors: What it wrote on stderr.
        status: Its exit status, negative for a signal; None where it was ended from here.
        timeout: Seconds that it had.
    """

    output: bytes = field(repr=False)
    errors: bytes = field(repr=False)
    status: int | None
    timeout: float


def too_much(written: bytes | bytearray) -> bool:
    """Tell whether more was written than is read."""
    return len(written) > MAX_ANSWER_BYTES


def read_answer(
    ran: Ran, method: str, params: Mapping[str, JSON], api_key: Secret | None
) -> Response | FavCRMError:
    """Return what came back, or the error that says why nothing did. It raises nothing: secrets are in its frames."""
    if too_much(ran.output) or too_much(ran.errors):
        return Response(body=_text(ran.output), defect="is larger than this client reads")
    if ran.status == 0:
        return _read_list(ran.output) if method == "tools/list" else _read_result(ran.output, params)
    told = _text(ran.errors)
    # Warnings and the like may stand before it.
    message = told[begin.end() :] if (begin := ERROR.search(told)) else told
    if (answer := _read_message(message) or _read_error_line(told)) is not None:
        return answer
    if ran.output.strip() and ran.status != WRONG_USE:
        # It may have failed behind its answer, and a key in that is a key.
        return Response(body=_text(ran.output), complete=False)
    return _failure(ran, message, _said(message, params, api_key))


def _read_list(output: bytes) -> Response:
    found = payloads.as_json(_text(output))
    entries = found.get("tools") if isinstance(found, dict) else found
    if not isinstance(entries, list):
        return Response(body=_text(output), defect="is no list of tools")
    return Response(result={"tools": [_tool(entry) for entry in entries]})


def _tool(entry: JSON) -> JSON:
    """Return an entry with its schemas under their MCP names; a null is as good as nothing there."""
    if not isinstance(entry, dict):
        return entry
    return {str(SCHEMAS.get(name, name)): value for name, value in entry.items() if value is not None}


def _read_result(output: bytes, params: Mapping[str, JSON]) -> Response:
    """Wrap a payload as the result that the command took it from."""
    text = _text(output).strip()
    if not text:
        return Response(defect="is empty")
    payload = payloads.as_json(text)
    if payload is None and text != "null":
        payload = text
    if isinstance(payload, str):
        return Response(result=_words(payload, params))
    if isinstance(payload, dict) and payload.get("isError") is True:
        # A refusal without words: the command shows the whole result.
        return Response(result=payload)
    whole = isinstance(payload, dict) and payload.keys() >= payloads.ENVELOPE
    structured: JSON = payload if whole else {"data": payload, "summary": "", "renderType": "json"}
    content: JSON = [{"type": "text", "text": text}]
    return Response(
        result={"structuredContent": structured, "content": content, "isError": _is_reason(payload)}
    )


def _is_reason(payload: JSON) -> bool:
    """Tell whether a payload is that of a refusal, which the command does not tell: a code, words, and no data."""
    if not isinstance(payload, dict) or not payload.keys() <= REASON_FIELDS:
        return False
    return payload.keys() >= {"code", "message"} and payload.get("success") is not True


def _words(words: str, params: Mapping[str, JSON]) -> JSON:
    """Wrap words in place of a payload: a refusal, as every FavCRM tool answers with data, unless a key is in them."""
    command = COMMANDS.get(str(params["name"]))
    refused = command is None or not command.brings_key
    return {"content": [{"type": "text", "text": words}], "isError": refused}


def _read_error_line(told: str) -> Response | FavCRMError | None:
    """Read the error of this project's command, which is the last line."""
    line = payloads.as_json(told.strip().rpartition("\n")[2])
    error = line.get("error") if isinstance(line, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("type"), str):
        return None
    read = KINDS.get(cast("str", error["type"]), _read_refusal)
    return read(error)


def _read_not_sent(error: Mapping[str, JSON]) -> TransportError:
    return NotSentError(
        _of(error, "message"), permanent=error.get("permanent") is True, next_step=_of(error, "next_step")
    )


def _read_unusable(error: Mapping[str, JSON]) -> TransportError:
    return NotSentError(_of(error, "message"), permanent=True, next_step=_of(error, "next_step"))


def _read_unknown(error: Mapping[str, JSON]) -> TransportError:
    return OutcomeUnknownError(
        _of(error, "message"),
        next_step=_of(error, "next_step"),
        request_id=_of(error, "request_id") or None,
    )


def _read_unexpected(error: Mapping[str, JSON]) -> Response:
    return Response(defect="lacks what it should have", headers=_headers(error))


def _read_busy(error: Mapping[str, JSON]) -> Response:
    return _page(SERVICE_UNAVAILABLE, error)


def _read_rate_limit(error: Mapping[str, JSON]) -> Response:
    return _page(TOO_MANY_REQUESTS, error)


def _read_input_required(error: Mapping[str, JSON]) -> FavCRMError:
    requests = error.get("input_requests")
    return InputRequiredError(
        _of(error, "message"),
        input_requests=requests if isinstance(requests, dict) else {},
        next_step=_of(error, "next_step"),
        request_id=_of(error, "request_id") or None,
    )


def _read_refusal(error: Mapping[str, JSON]) -> Response:
    """Say a refusal as the server said it: by its HTTP status, or by its own code."""
    code = error.get("code")
    if isinstance(code, int) and code in HTTP_STATUSES:
        return _page(code, error)
    if isinstance(code, int):
        return Response(
            error=JSONRPCError(code, _of(error, "summary"), _reason(error)), headers=_headers(error)
        )
    told: JSON = {
        "data": {"code": code, **_reason(error)},
        "summary": _of(error, "summary"),
        "renderType": "error",
    }
    return Response(
        result={"structuredContent": told, "content": [], "isError": True}, headers=_headers(error)
    )


KINDS: Mapping[str, Callable[[Mapping[str, JSON]], Response | FavCRMError]] = {
    "NotSentError": _read_not_sent,
    "InvalidInputError": _read_unusable,
    "OutcomeUnknownError": _read_unknown,
    "UnexpectedAnswerError": _read_unexpected,
    "ServerBusyError": _read_busy,
    "RateLimitError": _read_rate_limit,
    "InputRequiredError": _read_input_required,
}
"""How each error of this project's command is read; any other is a refusal."""


def _page(status: int, error: Mapping[str, JSON]) -> Response:
    body = json.dumps({"error": _reason(error)})
    return Response(status=status, body=body, headers=_headers(error))


def _reason(error: Mapping[str, JSON]) -> dict[str, JSON]:
    told = {
        "message": error.get("summary"),
        "retryAfter": error.get("retry_after"),
        "loginUrl": error.get("login_url"),
        "upgradeAction": error.get("upgrade_action"),
    }
    return {name: value for name, value in told.items() if value is not None}


def _headers(error: Mapping[str, JSON]) -> dict[str, str]:
    wait = error.get("retry_after")
    told = {
        "x-request-id": _of(error, "request_id"),
        "retry-after": str(math.ceil(wait)) if isinstance(wait, int | float) else "",
    }
    return {name: value for name, value in told.items() if value}


def _of(error: Mapping[str, JSON], name: str) -> str:
    value = error.get(name)
    return clean(value) if isinstance(value, str) else ""


def _read_message(message: str) -> Response | None:
    """Read a text error that tells what the server answered."""
    if found := HTTP.match(message):
        return Response(status=int(found[1]), body=(found[3] or "").strip())
    if found := RPC.match(message):
        return Response(error=JSONRPCError(int(found[1]), found[2].strip()))
    return next(
        (Response(defect=defect) for words, defect in DEFECTS.items() if message.startswith(words)), None
    )


def _failure(ran: Ran, message: str, said: str) -> TransportError:
    """Return the error for a run that brought no answer: what matters is whether a request can have been sent."""
    if ran.status is None:
        waited = f"within {round(ran.timeout, 2):g} seconds"
        return OutcomeUnknownError(f"The command did not answer {waited}, and it may have been carried out.")
    if ran.status < 0:
        return OutcomeUnknownError(
            f"The command was ended by signal {-ran.status}, and it may have been carried out."
        )
    if ran.status == WRONG_USE:
        return NotSentError(
            f"The command does not take this.{said} Nothing was sent.",
            permanent=True,
            next_step=WRONG_COMMAND,
        )
    for words, what, next_step in NEVER_SENT:
        if words.search(message):
            return NotSentError(
                f"{what}.{said} Nothing was sent.", permanent=bool(next_step), next_step=next_step
            )
    return OutcomeUnknownError(
        f"The command failed with exit status {ran.status}, and it may have been carried out.{said}"
    )


def _said(message: str, params: Mapping[str, JSON], api_key: Secret | None) -> str:
    """Return the command's words as a sentence, without what is secret in this call; nothing where it said nothing."""
    given = arguments_of(params)
    hide = [str(given[name]) for name in SECRET_ARGUMENTS if name in given]
    if api_key is not None:
        hide.append(api_key.reveal())
    words = clean(without_emails(clean(message, hide=hide, longest=len(message))), longest=LAST_WORDS)
    return f' It says: "{words.rstrip(".")}".' if words else ""


def _text(written: bytes) -> str:
    return written.decode("utf-8", "replace")
