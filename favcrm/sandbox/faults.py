"""Faults between a client and FavCRM, which a test orders for the next call to a tool."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from attrs import evolve, field, frozen

from favcrm.sandbox.forms import AnswerForm, Ending, HTTPAnswer, encode, html_page, json_page, text_page

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from favcrm.typing import JSON

__all__ = ["Fault"]

KEY = re.compile(rb'(?P<quote>\\?")apiKey(?P=quote):(?P=quote)[A-Za-z0-9_-]+(?P=quote)')
"""A key in an answer, plain or inside a JSON text."""

Body: TypeAlias = Literal["json", "html", "empty"]


def _whole(body: bytes) -> bytes:
    return body


def _without_key(body: bytes) -> bytes:
    """Cut in the middle, or before the first key where the key comes earlier."""
    key = KEY.search(body)
    middle = len(body) // 2
    return body[: middle if key is None else min(middle, key.start())]


def _after_key(body: bytes) -> bytes:
    """Cut right behind the last key, or before the last bytes where there is no key."""
    ends = [key.end() for key in KEY.finditer(body)]
    return body[: ends[-1] if ends else -3]


@frozen(kw_only=True)
class Fault:
    """One fault. `Sandbox.fail_next` orders it for the next call.

    The class has the faults that need no argument; `server_error` and `clock_skew` make more.

    * ``REFUSE_CONNECTION``: the connection is refused. A served sandbox has accepted the connection before it
      knows the tool, so there the connection breaks as with ``RESET_BEFORE``.
    * ``RESET_BEFORE``, ``RESET_AFTER``: the connection breaks, before or after the tool acts.
    * ``STALL``, ``STALL_AFTER``: no answer comes; the tool has not acted, or has.
    * ``SERVER_ERROR``: an HTTP 503; the tool does not act.
    * ``HTML``: a page with status 200; the tool does not act.
    * ``TRUNCATED_SSE``: the tool acts, and its event breaks off before any key.
    * ``TRUNCATED_SSE_AFTER_KEY``: the same, but the event breaks off behind the key.
    * ``WRONG_TYPES``: the tool acts; every field of its payload but ``apiKey`` has a wrong JSON type.

    In process nothing waits: where a client would time out, the sandbox's clock moves by the timeout.

    Attributes:
        name: Its name, as `CallRecord.fault` shows it.
        acts: Whether the tool acts before the fault happens.

    Example:
        >>> from favcrm.sandbox import Fault, Sandbox
        >>> sandbox = Sandbox()
        >>> sandbox.fail_next("list_services", Fault.RESET_BEFORE, Fault.server_error(502, body="empty"))
    """

    name: str
    acts: bool = False
    ending: Ending = field(default=Ending.WHOLE, repr=False)
    page: HTTPAnswer | None = field(default=None, repr=False)
    framing: AnswerForm | None = field(default=None, repr=False)
    shorten: Callable[[bytes], bytes] = field(default=_whole, repr=False)
    wrong_types: bool = field(default=False, repr=False)
    skew: float = field(default=0.0, repr=False)

    REFUSE_CONNECTION: ClassVar[Fault]
    RESET_BEFORE: ClassVar[Fault]
    RESET_AFTER: ClassVar[Fault]
    STALL: ClassVar[Fault]
    STALL_AFTER: ClassVar[Fault]
    SERVER_ERROR: ClassVar[Fault]
    HTML: ClassVar[Fault]
    TRUNCATED_SSE: ClassVar[Fault]
    TRUNCATED_SSE_AFTER_KEY: ClassVar[Fault]
    WRONG_TYPES: ClassVar[Fault]

    @classmethod
    def server_error(
        cls,
        status: int = 503,
        *,
        body: Body = "html",
        retry_after: float | str | None = None,
        acts: bool = False,
    ) -> Fault:
        """Return a fault that answers with an HTTP status.

        Args:
            status: The status, such as 500, 502, 503 or 504.
            body: The kind of body that the answer has.
            retry_after: The ``Retry-After`` header: seconds, or an HTTP date as text; None for none.
            acts: Whether the tool acts before.
        """
        pages: dict[Body, HTTPAnswer] = {
            "json": json_page(status, {"success": False, "error": {"message": "Service unavailable"}}),
            "html": html_page(status, "Service unavailable"),
            "empty": text_page(status),
        }
        page = pages[body]
        if retry_after is not None:
            delay = retry_after if isinstance(retry_after, str) else f"{retry_after:g}"
            page = evolve(page, headers={**page.headers, "retry-after": delay})
        return cls(name="SERVER_ERROR", acts=acts, page=page)

    @classmethod
    def clock_skew(cls, seconds: float) -> Fault:
        """Return a fault that only sends a wrong ``Date`` header.

        Args:
            seconds: By how much the server's clock is ahead; negative where it is behind.
        """
        return cls(name="CLOCK_SKEW", acts=True, skew=seconds)

    def apply(self, answer: HTTPAnswer) -> HTTPAnswer:
        """Return what the fault leaves of an answer."""
        if self.page is not None:
            answer = evolve(self.page, headers={**answer.headers, **self.page.headers})
        return evolve(answer, body=self.shorten(answer.body), ending=self.ending)


def _truncated(name: str, shorten: Callable[[bytes], bytes]) -> Fault:
    return Fault(name=name, acts=True, ending=Ending.CUT, framing=AnswerForm.SSE, shorten=shorten)


Fault.REFUSE_CONNECTION = Fault(name="REFUSE_CONNECTION", ending=Ending.REFUSED)
Fault.RESET_BEFORE = Fault(name="RESET_BEFORE", ending=Ending.BROKEN)
Fault.RESET_AFTER = Fault(name="RESET_AFTER", acts=True, ending=Ending.BROKEN)
Fault.STALL = Fault(name="STALL", ending=Ending.STALLED)
Fault.STALL_AFTER = Fault(name="STALL_AFTER", acts=True, ending=Ending.STALLED)
Fault.SERVER_ERROR = Fault.server_error()
Fault.HTML = Fault(name="HTML", page=html_page(200, "Sign in to the network"))
Fault.TRUNCATED_SSE = _truncated("TRUNCATED_SSE", _without_key)
Fault.TRUNCATED_SSE_AFTER_KEY = _truncated("TRUNCATED_SSE_AFTER_KEY", _after_key)
Fault.WRONG_TYPES = Fault(name="WRONG_TYPES", acts=True, wrong_types=True)


def with_wrong_types(payload: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return a payload with the same fields, each of a wrong type. A key stays what it is."""
    return {name: value if name == "apiKey" else _wrong(name, value) for name, value in payload.items()}


def _wrong(name: str, value: JSON) -> JSON:
    special: dict[str, JSON] = {"expiresAt": 1778500800, "nextSteps": {"first": value}, "maskedEmail": 7}
    if name in special:
        return special[name]
    return [value] if isinstance(value, str) else encode(value)
