"""The mails that the sandbox sends: nobody gets them, everybody can read them here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Inbox", "Mail"]


@frozen(kw_only=True)
class Mail:
    """One mail.

    Attributes:
        to: The address.
        subject: The subject.
        body: The text.
        code: The 6-digit code in it, or None.
        sent_at: When it was sent, in seconds since 1970 on the sandbox's clock.
    """

    to: str = field(repr=False)
    subject: str
    body: str = field(repr=False)
    code: str | None = field(repr=False)
    sent_at: float


class Inbox(Sequence[Mail]):
    """Every mail so far, the oldest first.

    Attributes:
        on_mail: Called with each mail as it is sent, or None.
    """

    def __init__(self, on_mail: Callable[[Mail], None] | None = None) -> None:
        self.on_mail = on_mail
        self._mails: list[Mail] = []

    @overload
    def __getitem__(self, index: int) -> Mail: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Mail]: ...
    def __getitem__(self, index: int | slice) -> Mail | Sequence[Mail]:
        """Return one mail, or several."""
        return self._mails[index]

    def __len__(self) -> int:
        """Return how many mails were sent."""
        return len(self._mails)

    def __repr__(self) -> str:
        return f"<Inbox: {len(self)} mails>"

    def deliver(self, mail: Mail) -> None:
        """Put a mail in."""
        self._mails.append(mail)
        if self.on_mail is not None:
            self.on_mail(mail)

    def last_to(self, email: str) -> Mail:
        """Return the last mail to an address.

        Raises:
            LookupError: None was sent there.
        """
        for mail in reversed(self._mails):
            if mail.to.casefold() == email.casefold():
                return mail
        raise LookupError("no mail was sent to this address")

    def code_for(self, email: str) -> str:
        """Return the code in the last mail to an address that has one.

        Raises:
            LookupError: No code was sent there.
        """
        for mail in reversed(self._mails):
            if mail.code is not None and mail.to.casefold() == email.casefold():
                return mail.code
        raise LookupError("no code was sent to this address")
