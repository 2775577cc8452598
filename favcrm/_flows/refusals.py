"""From any wire form of a failure to one of our errors.

Which form FavCRM uses is not known, so every form is first brought into one shape, a `Failure`, and that is
looked up in the tables of `refusal_rules`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from favcrm._flows.reasons import TEXT_FIELDS, find_reason, read_challenge, read_failure
from favcrm._flows.redaction import mask_fields
from favcrm._flows.refusal_rules import find_rule, names_a_refusal
from favcrm._flows.waits import WAIT_FIELDS
from favcrm._mcp import payloads
from favcrm._mcp.negotiation import REDIRECTS, SUCCESS
from favcrm._text import clean, mask, masked, without_emails, without_query
from favcrm.errors import PORTAL, AlreadyRegisteredError, AuthenticationError, PlanLimitError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from favcrm._flows.reasons import Failure
    from favcrm._mcp.payloads import Answer
    from favcrm.errors import FavCRMError, RefusalFields
    from favcrm.transport import Response
    from favcrm.typing import JSON

REASON_FIELDS = {"success", "code", "errors", *TEXT_FIELDS, *WAIT_FIELDS, "loginUrl", "upgradeAction"}
NO_KEY_SENT = "The server asks for a key, and none was sent. Nothing was done."
NEEDS_NO_KEY = "Check the endpoint: FavCRM needs no key for this call, so something else may answer there."
INSUFFICIENT_SCOPE = "insufficient_scope"


def find_failure(answer: Answer, *, now: float, never_empty: bool = False) -> Failure | None:
    """Return the failure that an answer tells of, or None where it tells of none.

    A result without its promised field is a failure if it gives a reason.

    Args:
        answer: What came back.
        now: This machine's time, in seconds since 1970, for where the server does not tell its own.
        never_empty: Whether a good payload holds something, although no field of it is promised.
    """
    response = answer.response
    if (error := response.error) is not None:
        return read_failure(response, now, error.data, before=error.message, code=error.code)
    if response.status is not None and response.status not in SUCCESS:
        return _from_body(response, payloads.as_json(response.body), now)
    if response.result is not None:
        return _from_result(answer, now, never_empty=never_empty)
    # A REST refusal sent with status 200. Words alone may as well tell of a success.
    body = payloads.as_json(response.body)
    if not isinstance(body, dict):
        return None
    failure = _from_body(response, body, now)
    refused = bool(body.get("error")) or body.get("success") is False or find_rule(failure, sign_up=True)
    return failure if refused else None


def _from_body(response: Response, body: JSON, now: float) -> Failure:
    """Read an HTTP refusal: JSON of several shapes, HTML, or nothing."""
    if isinstance(body, dict):
        summary = body.get("summary")
        return read_failure(response, now, body, after=summary if isinstance(summary, str) else "")
    # The words of an HTML page are a proxy's, for people; its status says enough.
    return read_failure(response, now, "" if response.body.lstrip().startswith("<") else response.body)


def _from_result(answer: Answer, now: float, *, never_empty: bool) -> Failure | None:
    """Read a tool's own refusal: ``isError``, or a result without what it promises."""
    response, result = answer.response, answer.response.result
    refused = isinstance(result, dict) and result.get("isError") is True
    # Most answers tell of no failure, and that is seen before their words are read.
    if not refused and answer.promised is not None and answer.payload is not None:
        return None
    details = _details(answer)
    if not refused and not _may_refuse(details, answer.promised, never_empty=never_empty):
        return None
    if refused:
        return read_failure(response, now, details, before=answer.summary)
    failure = read_failure(response, now, details, after=answer.summary)
    # A good-looking sentence beside a payload that only lacks a field is a defect, not a refusal.
    given = any(find_reason(details)) or (answer.summary and _is_only_a_reason(details))
    certain = not never_empty and (answer.promised is None or given)
    return failure if certain or find_rule(failure, sign_up=not never_empty) else None


def _details(answer: Answer) -> JSON:
    """Return the payload that may give a reason, whatever is promised of a good one."""
    result = answer.response.result
    if isinstance(result, dict) and result.get("structuredContent") is None:
        # A structured content of null gives no reason, and the text beside it may.
        result = {name: value for name, value in result.items() if name != "structuredContent"}
    return payloads.payload(result)


def _may_refuse(details: JSON, promised: str | None, *, never_empty: bool) -> bool:
    """Tell whether a payload can be a refusal; that of a tool that may answer anything has to say so."""
    if never_empty:
        return _is_only_a_reason(details)
    if promised is not None:
        return True
    return isinstance(details, dict) and (_says_no(details) or names_a_refusal(details.get("code")))


def _says_no(details: Mapping[str, JSON]) -> bool:
    told = details.get("error") or details.get("errors") or details.get("success") is False
    return bool(told) and _is_only_a_reason(details)


def _is_only_a_reason(details: JSON) -> bool:
    """Tell whether a payload holds nothing, or nothing but a reason."""
    return not isinstance(details, Mapping) or details.keys() <= REASON_FIELDS


def to_error(
    failure: Failure, response: Response, *, sign_up: bool, hide: tuple[str, ...] = ()
) -> FavCRMError:
    """Return the error for a failure.

    Args:
        failure: What was found.
        response: The answer it was found in.
        sign_up: Whether the call is part of a registration; elsewhere "expired" or "exists" mean other things.
        hide: Values of the request that the server may repeat and that must not be shown.
    """
    # Where something is hidden, as in a sign-up, there is one email to name, and nobody is to see it in an error.
    private = sign_up or bool(hide)
    shown = partial(_shown, hide=hide, private=private)
    code = failure.codes[0] if failure.codes else failure.status
    # A server may repeat the code of the request where its delay belongs.
    repeats = any(hidden in f"{failure.retry_after or 0:.0f}" for hidden in hide)
    retry_after = None if repeats else failure.retry_after
    fields: RefusalFields = {
        "request_id": response.x_request_id,
        "retry_after": retry_after,
        "server_code": shown(code) if isinstance(code, str) else code,
        "summary": shown(failure.texts[0]) if failure.texts else "",
    }
    if response.error is not None and not private:
        fields["data"] = masked(mask_fields(response.error.data), mask)
    rule = find_rule(failure, sign_up=sign_up)
    if rule is None:
        fields["next_step"] = _step_for_status(failure)
        return RefusedError(_quoting(_message_for_status(failure, response), fields), **fields)
    message, error = _quoting(rule.message, fields), rule.error
    fields["next_step"] = rule.next_step
    if issubclass(error, AuthenticationError):
        return _authentication_error(message, response, shown, fields)
    if issubclass(error, AlreadyRegisteredError):
        url = shown(without_query(_text(failure, "loginUrl")))
        return error(message, login_url=url or PORTAL, **fields)
    if issubclass(error, PlanLimitError):
        return error(message, upgrade_action=shown(_text(failure, "upgradeAction")) or None, **fields)
    if issubclass(error, RefusedError):
        return error(message, **fields)
    return error(
        message,
        retry_after=retry_after,
        request_id=response.x_request_id,
        server_code=fields["server_code"],
    )


def say_that_no_key_was_sent(error: AuthenticationError, next_step: str) -> None:
    """Change an error of a call without a key: the server cannot have refused a key.

    Args:
        error: The error.
        next_step: Where a key is looked for; empty where the call needs none.
    """
    error.message = f'{NO_KEY_SENT} The server says: "{error.summary}"' if error.summary else NO_KEY_SENT
    error.next_step = next_step or NEEDS_NO_KEY


def _authentication_error(
    message: str, response: Response, shown: Callable[[str], str], fields: RefusalFields
) -> AuthenticationError:
    told = read_challenge(response.headers.get("www-authenticate", ""))
    challenge = {name: shown(value) for name, value in told.items()}
    if challenge.get("error") == INSUFFICIENT_SCOPE:
        scope = challenge.get("scope", "").replace('"', "'")
        lacking = f'the scope "{scope}"' if scope else "a scope that the request needs"
        message = _quoting("The key has no scope for the request. Nothing was done.", fields)
        fields["next_step"] = (
            f"Do without the request, or ask the user for another key: this one is good, but lacks {lacking}."
        )
        fields["human_action"] = f"Ask the owner of the workspace for a key with {lacking}."
    return AuthenticationError(message, challenge=challenge, **fields)


def _shown(words: str, *, hide: tuple[str, ...], private: bool) -> str:
    return clean(without_emails(words) if private else words, hide=hide)


def _quoting(message: str, fields: RefusalFields) -> str:
    words = fields.get("summary", "").rstrip(".")
    return f'{message} The server says: "{words}".' if words else message


def _message_for_status(failure: Failure, response: Response) -> str:
    if failure.status is None:
        return "The server refused the request. Nothing was done."
    redirect = f", which {response.defect}" if failure.status in REDIRECTS else ""
    return f"The server answered HTTP {failure.status}{redirect}. Nothing was done."


def _step_for_status(failure: Failure) -> str | None:
    """Say what to do about a bare HTTP status, which tells of the endpoint rather than of the tool."""
    if failure.status is None:
        return None
    if failure.status in REDIRECTS:
        return "Set the endpoint to the address that the server really has: redirects elsewhere are not followed."
    return "Check that the endpoint is the address of a FavCRM MCP endpoint."


def _text(failure: Failure, name: str) -> str:
    value = failure.details.get(name)
    return value if isinstance(value, str) else ""
