"""From payloads to models. A problem is named by its path, never by its value.

cattrs reads the list of tools, and is loaded for it. The answers of a sign-up have readers written by hand, because an
answer with a key yields a workspace whatever else is wrong with it, and because loading cattrs takes as long as loading
all else that a first call needs.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Never, TypeVar, cast

from attrs import frozen

from favcrm._flows.records import id_of_invitation
from favcrm._flows.redaction import KEY_IN_WORDS, Redaction, mask_fields
from favcrm._flows.waits import server_time
from favcrm._mcp import payloads
from favcrm._mcp.requests import next_cursor
from favcrm._patterns import lazy_pattern
from favcrm._text import clean, mask, masked, without_emails, without_query
from favcrm.errors import UnexpectedAnswerError
from favcrm.models import PendingRegistration, Tool, ToolResult, Workspace
from favcrm.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from cattrs import Converter

    from favcrm._mcp.payloads import Answer
    from favcrm.transport import Clock, Response
    from favcrm.typing import JSON

T = TypeVar("T")

DATE_RESOLUTION = 1.0
CODE_LIFE = 600.0
PENDING_FIELDS = {"requestId", "expiresAt", "maskedEmail", "instructions"}
USUAL_KEY_PREFIX = "fav_mcp_"
# A field that holds a key, in JSON or in JSON that is quoted inside JSON; only whole, up to its closing quote.
KEY_FIELD = lazy_pattern(r'"api_?key\\*"\s*:\s*\\*"([^"\\\s]+)\\*"', re.IGNORECASE)


# The server's own spelling, so that a path in a problem is the path in the answer.
@frozen(eq=False, repr=False)
class ListedTool:
    """One entry of ``tools/list``."""

    name: str
    description: str | None = None
    inputSchema: dict[str, object] | None = None
    outputSchema: dict[str, object] | None = None
    annotations: dict[str, object] | None = None


def _text(value: object, _: object = str) -> str:
    if isinstance(value, str):
        return value
    raise TypeError("text")


def _object(value: object, _: object) -> dict[str, object]:
    if isinstance(value, dict):
        return cast("dict[str, object]", value)
    raise TypeError("an object")


def _time(value: object) -> datetime:
    try:
        moment = datetime.fromisoformat(_text(value))
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (TypeError, ValueError):
        raise TypeError("an ISO 8601 time") from None


@lru_cache(maxsize=1)
def _converter() -> Converter:
    from cattrs import Converter

    converter = Converter(detailed_validation=True)
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook_func(lambda kind: kind == dict[str, object], _object)
    return converter


def _problem(error: BaseException, _: type | None) -> str:
    """Say what is wrong. The hooks above raise what was expected; other messages could quote a value."""
    if isinstance(error, KeyError):
        return "is missing"
    return f"is not {error}" if isinstance(error, TypeError) else "is not what was expected"


def _listed_tool(entry: JSON, response: Response) -> ListedTool:
    from cattrs import ClassValidationError, transform_error

    try:
        return _converter().structure(entry, ListedTool)
    except ClassValidationError as error:
        problems = [told.partition(" @ ") for told in transform_error(error, format_exception=_problem)]
    raise _unexpected(response, *[f"{path} {problem}" for problem, _, path in problems])


def _unexpected(response: Response, *problems: str) -> UnexpectedAnswerError:
    return UnexpectedAnswerError(
        "The answer does not hold what the request promises.",
        problems=problems,
        request_id=response.x_request_id,
    )


def _extra(payload: Mapping[str, JSON], known: Collection[str], hide: tuple[str, ...]) -> dict[str, JSON]:
    """Return the fields of a payload that are not known, with every text in them masked."""
    unknown = {name: value for name, value in payload.items() if name not in known}
    if not unknown:
        return {}
    # Each text by itself: what masks a text that holds JSON may take a quote of it away.
    extra = masked(mask_fields(unknown), lambda text: mask(without_emails(text), hide=hide))
    return cast("dict[str, JSON]", extra or {})


def read_pending(answer: Answer, *, clock: Clock, hide: tuple[str, ...] = ()) -> PendingRegistration:
    """Return the pending registration; its time counts from now, by the server's clock."""
    response, payload = answer.response, answer.payload
    if not isinstance(payload, dict):
        raise _unexpected(response, "$.requestId is missing")
    problems: list[str] = []

    def read(name: str, read_value: Callable[[object], T]) -> T | None:
        try:
            return read_value(payload[name])
        except KeyError:
            problems.append(f"$.{name} is missing")
        except TypeError as error:
            problems.append(f"$.{name} is not {error}")
        return None

    request_id, expires_at = read("requestId", _text), read("expiresAt", _time)
    masked_email, instructions = read("maskedEmail", _text), read("instructions", _text)
    if request_id is None or expires_at is None or masked_email is None or instructions is None:
        raise _unexpected(response, *problems)
    return PendingRegistration(
        request_id=request_id,
        expires_at=expires_at,
        masked_email=clean(masked_email, hide=hide),
        instructions=clean(without_emails(instructions), hide=hide),
        x_request_id=response.x_request_id,
        extra=_extra(payload, PENDING_FIELDS, hide),
        ends_at=clock.monotonic() + expires_at.timestamp() - _now(response, clock),
        monotonic=clock.monotonic,
    )


def read_pending_invite(answer: Answer, *, clock: Clock, token: str) -> PendingRegistration:
    """Return the pending acceptance of an invitation; its answer is not published, so nothing in it is promised."""
    told = answer.payload if isinstance(answer.payload, dict) else {}
    now = _now(answer.response, clock)
    try:
        expires_at = _time(told.get("expiresAt"))
    except TypeError:
        expires_at = datetime.fromtimestamp(now + CODE_LIFE, UTC)
    email, instructions = (
        text if isinstance(text := told.get(name), str) else "" for name in ("maskedEmail", "instructions")
    )
    return PendingRegistration(
        request_id=id_of_invitation(Secret(token)),
        expires_at=expires_at,
        masked_email=clean(email, hide=[token]),
        instructions=clean(without_emails(instructions), hide=[token]),
        x_request_id=answer.response.x_request_id,
        ends_at=clock.monotonic() + expires_at.timestamp() - now,
        monotonic=clock.monotonic,
    )


def _now(response: Response, clock: Clock) -> float:
    """Return the server's time, or this machine's where the server does not tell its own."""
    now = server_time(response)
    # The Date header leaves out the fraction of the second; the code must not be believed alive for longer.
    return clock.time() if now is None else now + DATE_RESOLUTION


def raise_without_key(answer: Answer) -> Never:
    """Raise `UnexpectedAnswerError`, because `find_workspace` found no key in the answer."""
    raise _unexpected(answer.response, "$.apiKey is missing")


def find_workspace(answer: Answer, *, hide: tuple[str, ...] = ()) -> Workspace | None:
    """Return the workspace if there is a key anywhere in an answer, whatever else is wrong with it."""
    response, payload = answer.response, answer.payload
    if isinstance(payload, dict) and isinstance(key := payload.get("apiKey"), str) and key.strip():
        return _workspace(response, payload, key.strip(), hide)
    result, error = response.result, response.error
    parts = payloads.as_text([result, [error.message, error.data] if error else None])
    # The body stands by itself: quoted as JSON, a key that broke off would look whole.
    if found := KEY_FIELD.search(parts) or KEY_FIELD.search(response.body):
        return _workspace(response, {}, found.group(1), hide)
    refused = not isinstance(result, dict) or result.get("isError") is True
    if not refused and (found := KEY_IN_WORDS.search(parts)):
        return _workspace(response, {}, found.group(), hide)
    return None


def _workspace(response: Response, payload: Mapping[str, JSON], key: str, hide: tuple[str, ...]) -> Workspace:
    hide = (key, *hide)
    problems: list[str] = []
    if not key.startswith(USUAL_KEY_PREFIX):
        problems.append("$.apiKey has an unusual prefix")

    def sibling(name: str, shorten: Callable[[str], str] = str) -> str | None:
        value = payload.get(name)
        if isinstance(value, str) and value:
            return clean(without_emails(shorten(value)), hide=hide)
        problems.append(f"$.{name} is missing" if value is None or value == "" else f"$.{name} is not text")
        return None

    known = {"apiKey", "organisationId", "companyId", "userId", "loginUrl", "nextSteps"}
    return Workspace(
        api_key=Secret(key),
        organisation_id=sibling("organisationId"),
        company_id=sibling("companyId"),
        user_id=sibling("userId"),
        login_url=sibling("loginUrl", without_query),
        next_steps=_next_steps(payload.get("nextSteps"), problems, hide),
        problems=tuple(problems),
        x_request_id=response.x_request_id,
        extra=_extra(payload, known, hide),
    )


def _next_steps(value: JSON, problems: list[str], hide: tuple[str, ...]) -> tuple[str, ...]:
    """Take text, a list of texts, or nothing."""
    steps = [value] if isinstance(value, str) else value or []
    if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
        problems.append("$.nextSteps is neither text nor a list of texts")
        return ()
    return tuple(clean(without_emails(cast("str", step)), hide=hide) for step in steps if step)


def read_tools(answer: Answer) -> tuple[tuple[Tool, ...], str | None]:
    """Return one page of ``tools/list`` and the cursor of the next one."""
    response = answer.response
    page = response.result
    entries = page.get("tools") if isinstance(page, dict) else None
    if not isinstance(page, dict) or not isinstance(entries, list):
        raise _unexpected(response, "$.tools is missing")
    return tuple(_tool(entry, response) for entry in entries), next_cursor(page)


def _tool(entry: JSON, response: Response) -> Tool:
    listed = _listed_tool(entry if isinstance(entry, dict) else {}, response)
    return Tool(
        name=listed.name,
        description=listed.description or "",
        input_schema=cast("Mapping[str, JSON]", listed.inputSchema or {}),
        output_schema=cast("Mapping[str, JSON] | None", listed.outputSchema),
        annotations=cast("Mapping[str, JSON]", listed.annotations or {}),
    )


def read_result(answer: Answer, *, tool: str) -> ToolResult:
    """Return what a tool answered, with nothing promised but an MCP result, and without a secret that shows."""
    result = answer.response.result
    if not isinstance(result, dict):
        raise _unexpected(answer.response, "$ is not an object")
    try:
        return _tool_result(answer, result, tool)
    except RecursionError:
        # A result that cannot be searched for secrets is not shown.
        raise _unexpected(answer.response, "$ nests too deep") from None


def _tool_result(answer: Answer, result: Mapping[str, JSON], tool: str) -> ToolResult:
    redaction = Redaction.of(result, tool)
    raw = cast("Mapping[str, JSON]", redaction.masked(result))
    content = raw.get("content")
    blocks = content if isinstance(content, list) else []
    return ToolResult(
        data=redaction.data(answer.payload),
        summary=clean(redaction.text(answer.summary)),
        content=tuple(block for block in blocks if isinstance(block, dict)),
        raw=raw,
        x_request_id=answer.response.x_request_id,
    )
