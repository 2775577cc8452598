"""What mail providers do: odd dates, who may read, tokens in place of passwords, slowness, early notices."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from codes.mailserver import PASSWORD, SENDER, USERNAME, mail
from codes.scripted import TOKEN, ScriptedServer
from codes.test_mailbox import LIFETIME, Waiting, mailbox, options
from codes.test_mailbox import waiting as waiting  # noqa: PLC0414 - pytest finds the fixture by its name

from favcrm import CodeExpiredError, InvalidInputError, PendingRegistration, Secret
from favcrm.codes import AsyncMailboxCode, CodeUnavailableError, MailboxCode

THE_CODE = mail("Your code is 123456.")
SENT = datetime(2026, 11, 22, 12, 13, 44, tzinfo=UTC)


def pending_since(time: datetime, waiting: Waiting) -> PendingRegistration:
    return PendingRegistration(
        request_id="r",
        expires_at=time + timedelta(seconds=LIFETIME),
        ends_at=waiting.clock.monotonic() + LIFETIME,
        monotonic=waiting.clock.monotonic,
    )


# When a mail came


@pytest.mark.parametrize(
    "date",
    [
        "22-Nov-2026 12:13:44 +0000",
        "22-Nov-2026 12:13:44 -0000",
        "22-Nov-2026 12:13:44",
        "22-nov-2026 13:43:44 +0130",
        "22-Nov-2026 12:13:44 GMT",
    ],
)
def test_a_date_without_a_known_zone_is_in_utc(scripted: ScriptedServer, waiting: Waiting, date: str) -> None:
    scripted.mails, scripted.date = [THE_CODE], date
    assert mailbox(scripted)(pending_since(SENT, waiting)) == "123456"
    with pytest.raises(CodeExpiredError):
        mailbox(scripted)(pending_since(SENT + timedelta(minutes=5), waiting))


def test_a_date_that_stands_behind_the_mail_counts(scripted: ScriptedServer, waiting: Waiting) -> None:
    scripted.mails, scripted.date_first = [THE_CODE], False
    assert mailbox(scripted)(pending_since(SENT, waiting)) == "123456"


@pytest.mark.parametrize("date", ["32-Nov-2026 12:13:44 +0000", "22-Nov-2026 12:13:44 +9999", "yesterday"])
def test_a_mail_with_a_date_that_there_is_not_is_passed_over(
    scripted: ScriptedServer, waiting: Waiting, date: str
) -> None:
    scripted.mails, scripted.date = [THE_CODE], date
    with pytest.raises(CodeExpiredError):
        mailbox(scripted)(pending_since(SENT, waiting))
    assert scripted.commands.count("LOGIN") == 1


# Who may read


def test_a_server_is_told_who_reads_before_the_folder_is_opened(scripted: ScriptedServer) -> None:
    scripted.capabilities += " ID"
    scripted.wants_introduction = True
    mailbox(scripted).check()
    assert '"name" "favcrm"' in scripted.introduced[0]
    assert (
        scripted.commands.index("LOGIN") < scripted.commands.index("ID") < scripted.commands.index("EXAMINE")
    )


@pytest.mark.parametrize("answer", ["NO not now", "BAD what"])
def test_a_refused_introduction_is_ignored(scripted: ScriptedServer, answer: str) -> None:
    scripted.capabilities += " ID"
    scripted.id_answer = answer
    mailbox(scripted).check()


def test_a_server_that_opens_no_folder_for_strangers_says_to_look_at_its_settings(
    scripted: ScriptedServer,
) -> None:
    scripted.wants_introduction = True
    with pytest.raises(CodeUnavailableError, match="no folder INBOX") as caught:
        mailbox(scripted).check()
    assert "settings" in caught.value.next_step
    assert "ID" not in scripted.commands


@pytest.mark.parametrize(
    "answer",
    [
        "NO [ALERT] Application-specific password required: https://support.example.com/accounts/185833 (Failure)",
        "NO [ALERT] Please log in via your web browser: https://support.example.com/ (Failure)",
        "NO [WEBALERT https://accounts.example.com/] Web login required.",
        "NO Basic authentication is disabled.",
        'NO LOGIN failed. "BasicAuthBlocked-8"',
        "BAD basic auth is off",
        "NO [AUTHENTICATIONFAILED] Please use an app password",
    ],
)
@pytest.mark.parametrize("password", ["not-a-real-one", "n\u00f6t-a-real-one"])
def test_a_server_that_takes_no_password_raises_an_error_that_names_the_token(
    scripted: ScriptedServer, answer: str, password: str
) -> None:
    scripted.login_answer = answer
    with pytest.raises(CodeUnavailableError, match="switched such logins off") as caught:
        mailbox(scripted, password=password).check()
    assert "oauth_token" in caught.value.next_step
    assert "example.com" not in str(caught.value)


def test_a_server_that_takes_no_password_is_sent_none(scripted: ScriptedServer) -> None:
    scripted.capabilities += " LOGINDISABLED AUTH=XOAUTH2"
    with pytest.raises(CodeUnavailableError, match="switched such logins off"):
        mailbox(scripted).check()
    assert not {"LOGIN", "AUTHENTICATE"} & set(scripted.commands)


def test_a_server_without_the_command_login_is_sent_the_password_by_authenticate(
    scripted: ScriptedServer,
) -> None:
    scripted.capabilities += " LOGINDISABLED AUTH=PLAIN"
    mailbox(scripted).check()
    assert "LOGIN" not in scripted.commands


def test_a_wrong_password_is_not_taken_for_switched_off_passwords(scripted: ScriptedServer) -> None:
    scripted.login_answer = "NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)"
    with pytest.raises(CodeUnavailableError, match="refused the login"):
        mailbox(scripted).check()


# With a token


def with_token(server: ScriptedServer, token: object, **changes: Any) -> MailboxCode:
    return MailboxCode(**options(server, password=None, oauth_token=token, **changes))


@pytest.mark.parametrize(
    "token",
    [TOKEN, Secret(TOKEN), lambda: TOKEN, lambda: Secret(TOKEN)],
    ids=["text", "Secret", "function", "function of a Secret"],
)
def test_a_token_signs_in(scripted: ScriptedServer, waiting: Waiting, token: object) -> None:
    scripted.mails = [THE_CODE]
    scripted.capabilities += " LOGINDISABLED AUTH=XOAUTH2"
    read_code = with_token(scripted, token)
    read_code.check()
    assert read_code(pending_since(SENT, waiting)) == "123456"
    assert TOKEN not in repr(read_code) + repr(vars(read_code))


def test_a_token_is_read_at_each_login(scripted: ScriptedServer) -> None:
    tokens = iter([TOKEN, "another-that-is-not-real"])
    read_code = with_token(scripted, lambda: next(tokens))
    read_code.check()
    with pytest.raises(CodeUnavailableError, match="OAuth token"):
        read_code.check()
    assert [TOKEN in sent for sent in scripted.tokens] == [True, False]


def test_a_token_that_is_refused_is_not_shown(scripted: ScriptedServer) -> None:
    old = Secret(TOKEN[::-1])
    with pytest.raises(CodeUnavailableError, match="refused the login with the OAuth token") as caught:
        with_token(scripted, old).check()
    assert "fresh" in caught.value.next_step
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert old.reveal() not in "".join(shown.format())


def test_an_error_of_the_token_function_is_raised_as_it_is(scripted: ScriptedServer) -> None:
    def refresh() -> str:
        raise TimeoutError("the provider is slow")

    with pytest.raises(TimeoutError, match="the provider is slow"):
        with_token(scripted, refresh).check()
    assert scripted.commands == []


@pytest.mark.parametrize("token", ["", "a\1b", "a\r\nb"])
def test_a_token_with_control_characters_is_not_sent(scripted: ScriptedServer, token: str) -> None:
    with pytest.raises(InvalidInputError, match="oauth_token"):
        with_token(scripted, lambda: token).check()
    assert scripted.commands == []


@pytest.mark.parametrize(
    "given",
    [{}, {"password": PASSWORD, "oauth_token": TOKEN}, {"oauth_token": "a\nb"}],
    ids=["none", "both", "bad"],
)
def test_a_mailbox_with_neither_or_both_of_password_and_token_raises_invalid_input_error(
    given: dict[str, Any],
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        MailboxCode("imap.example.com", username=USERNAME, senders=[SENDER], **given)
    assert [problem.field for problem in caught.value.problems] == ["password"]
    assert TOKEN not in str(caught.value)


# A server that is slow


def soon(seconds: float = 0.3) -> PendingRegistration:
    return PendingRegistration(request_id="r", expires_at=datetime.now(UTC) + timedelta(seconds=seconds))


async def of(colour: str, result: Callable[[], Any]) -> Any:
    """Return what a call of either colour returns."""
    return result() if colour == "blocking" else await result()


KINDS: dict[str, Any] = {"blocking": MailboxCode, "asynchronous": AsyncMailboxCode}


@pytest.mark.anyio
@pytest.mark.parametrize("command", ["greeting", "CAPABILITY", "LOGIN", "EXAMINE", "NOOP", "UID"])
@pytest.mark.parametrize("colour", KINDS)
async def test_an_answer_that_never_ends_is_not_waited_for_past_the_expiry(
    scripted: ScriptedServer, command: str, colour: str
) -> None:
    scripted.dripping = command
    with pytest.raises(CodeExpiredError, match="in time"):
        await of(colour, partial(KINDS[colour](**options(scripted)), soon()))


@pytest.mark.anyio
@pytest.mark.parametrize("colour", KINDS)
async def test_a_check_ends_within_its_timeout(scripted: ScriptedServer, colour: str) -> None:
    scripted.dripping = "LOGIN"
    # A machine that is busy may take longer to connect.
    with pytest.raises(CodeUnavailableError, match=r"did not answer in time|cannot be reached"):
        await of(colour, KINDS[colour](**options(scripted, timeout=0.3)).check)
