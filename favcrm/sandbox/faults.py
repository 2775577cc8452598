"""What can go wrong between a client and FavCRM, to be ordered for the next call to a tool."""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from attrs import Factory, evolve, field, frozen

from favcrm.sandbox.forms import AnswerForm, Page, encode, html_page, json_page

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from favcrm.typing import JSON

__all__ = ["Fault"]

KEY = re.compile(rb'(?P<quote>\\?")apiKey(?P=quote):(?P=quote)[A-Za-z0-9_-]+(?P=quote)')
"""A key in an answer, plain or inside a JSON text."""

Body: TypeAlias = Literal["json", "html", "empty"]


class Ending(Enum):
    """How an answer ends."""

    WHOLE = "all of it arrives"
    REFUSED = "the connection is refused"
    RESET = "the connection is reset before the answer"
    STALLED = "nothing more arrives"
    CUT = "the connection closes inside the answer"
    DRIPPED = "it arrives a byte at a time, and the last byte never does"


@frozen(kw_only=True)
class Reply:
    """What the sandbox sends back for one request.

    Attributes:
        status: The HTTP status.
        headers: The HTTP headers, names in lower case.
        body: The bytes of the body, as far as they are sent.
        ending: How it ends.
    """

    status: int = 200
    headers: Mapping[str, str] = Factory(dict[str, str])
    body: bytes = field(default=b"", repr=False)
    ending: Ending = Ending.WHOLE


def _whole(body: bytes) -> bytes:
    return body


def _without_key(body: bytes) -> bytes:
    """Cut in the middle, or before the first key where that comes earlier."""
    key = KEY.search(body)
    middle = len(body) // 2
    return body[: middle if key is None else min(middle, key.start())]


def _after_key(body: bytes) -> bytes:
    """Cut right behind the last key; where there is none, before the last bytes."""
    ends = [key.end() for key in KEY.finditer(body)]
    return body[: ends[-1] if ends else -3]


def _without_last(body: bytes) -> bytes:
    return body[:-1]


@frozen(kw_only=True)
class Fault:
    """One thing that goes wrong. Order it with `Sandbox.fail_next`.

    The class has the faults that need no argument; `server_error` and `clock_skew` make more.

    * ``REFUSE_CONNECTION``: the connection is refused. A served sandbox cannot know beforehand which tool a
      connection is for, so there this one resets it, and `Server.refusing` refuses.
    * ``RESET_BEFORE``, ``RESET_AFTER``: the connection is reset, before or after the tool acts.
    * ``STALL``, ``STALL_AFTER``: no answer comes; the tool has not acted, or has.
    * ``SERVER_ERROR``: an HTTP 503; the tool does not act.
    * ``HTML``: a page with status 200; the tool does not act.
    * ``TRUNCATED_SSE``: the tool acts, and its event breaks off before any key.
    * ``TRUNCATED_SSE_AFTER_KEY``: the same, but it breaks off behind the key.
    * ``SLOW_DRIP``: the tool acts; its answer comes byte by byte, and the last one never does.
    * ``WRONG_TYPES``: the tool acts; every field of its payload but ``apiKey`` has a wrong JSON type.

    In process nothing waits: where a client would time out, the sandbox's clock moves by the timeout.

    Attributes:
        name: Its name, as `Call.fault` shows it.
        acts: Whether the tool acts before it happens.

    Example:
        >>> from favcrm.sandbox import Fault, Sandbox
        >>> sandbox = Sandbox()
        >>> sandbox.fail_next("list_services", Fault.RESET_BEFORE, Fault.server_error(502, body="empty"))
    """

    name: str
    acts: bool = False
    ending: Ending = field(default=Ending.WHOLE, repr=False)
    page: Page | None = field(default=None, repr=False)
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
    SLOW_DRIP: ClassVar[Fault]
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
            body: What the answer's body is.
            retry_after: The ``Retry-After`` header: seconds, or an HTTP date as text; None for none.
            acts: Whether the tool acts before.
        """
        pages: dict[Body, Page] = {
            "json": json_page(status, {"success": False, "error": {"message": "Service unavailable"}}),
            "html": html_page(status, "Service unavailable"),
            "empty": Page(status, "text/plain", b""),
        }
        delay = f"{retry_after:g}" if isinstance(retry_after, int | float) else retry_after
        headers = {} if delay is None else {"retry-after": delay}
        return cls(name="SERVER_ERROR", acts=acts, page=evolve(pages[body], headers=headers))

    @classmethod
    def clock_skew(cls, seconds: float) -> Fault:
        """Return a fault that only sends a wrong ``Date`` header.

        Args:
            seconds: By how much the server's clock is ahead; negative where it is behind.
        """
        return cls(name="CLOCK_SKEW", acts=True, skew=seconds)

    def damage(self, reply: Reply) -> Reply:
        """Return what is left of a reply."""
        page = self.page
        if page is not None:
            headers = {**reply.headers, "content-type": page.content_type, **page.headers}
            reply = evolve(reply, status=page.status, headers=headers, body=page.body)
        return evolve(reply, body=self.shorten(reply.body), ending=self.ending)


def _nothing(_body: bytes) -> bytes:
    return b""


def _truncated(name: str, shorten: Callable[[bytes], bytes]) -> Fault:
    return Fault(name=name, acts=True, ending=Ending.CUT, framing=AnswerForm.SSE, shorten=shorten)


Fault.REFUSE_CONNECTION = Fault(name="REFUSE_CONNECTION", ending=Ending.REFUSED)
Fault.RESET_BEFORE = Fault(name="RESET_BEFORE", ending=Ending.RESET)
Fault.RESET_AFTER = Fault(name="RESET_AFTER", acts=True, ending=Ending.RESET, shorten=_nothing)
Fault.STALL = Fault(name="STALL", ending=Ending.STALLED)
Fault.STALL_AFTER = Fault(name="STALL_AFTER", acts=True, ending=Ending.STALLED, shorten=_nothing)
Fault.SERVER_ERROR = Fault.server_error()
Fault.HTML = Fault(name="HTML", page=html_page(200, "Sign in to the network"))
Fault.TRUNCATED_SSE = _truncated("TRUNCATED_SSE", _without_key)
Fault.TRUNCATED_SSE_AFTER_KEY = _truncated("TRUNCATED_SSE_AFTER_KEY", _after_key)
Fault.SLOW_DRIP = Fault(name="SLOW_DRIP", acts=True, ending=Ending.DRIPPED, shorten=_without_last)
Fault.WRONG_TYPES = Fault(name="WRONG_TYPES", acts=True, wrong_types=True)


def distort(payload: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return a payload with the same fields, each of a wrong type. A key stays what it is."""
    return {name: value if name == "apiKey" else _wrong(name, value) for name, value in payload.items()}


def _wrong(name: str, value: JSON) -> JSON:
    odd: dict[str, JSON] = {"expiresAt": 1778500800, "nextSteps": {"first": value}, "maskedEmail": 7}
    if name in odd:
        return odd[name]
    return [value] if isinstance(value, str) else encode(value)
