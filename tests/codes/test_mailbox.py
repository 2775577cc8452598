from __future__ import annotations

import logging
import os
import pickle
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import anyio.to_thread
import pytest
from codes import mailserver
from codes.mailserver import PASSWORD, PATIENCE, SENDER, USERNAME, MailServer, mail
from codes.scripted import ScriptedServer

from favcrm import CodeExpiredError, InvalidInputError, PendingRegistration, Secret
from favcrm.codes import AsyncMailboxCode, CodeUnavailableError, MailboxCode, _imap
from favcrm.codes import mailbox as module
from favcrm.codes._mails import codes_in
from favcrm.sandbox import Mail, Sandbox, SandboxClock

LIFETIME = 600.0
Step: TypeAlias = Callable[[], object]


def options(server: MailServer | ScriptedServer, **changes: Any) -> dict[str, Any]:
    return {
        "host": server.host,
        "port": server.port,
        "username": USERNAME,
        "password": PASSWORD,
        "senders": [SENDER],
        "ssl_context": mailserver.trusting(),
        "timeout": PATIENCE,
        **changes,
    }


def mailbox(server: MailServer | ScriptedServer, **changes: Any) -> MailboxCode:
    return MailboxCode(**options(server, **changes))


class Waiting:
    """Every wait runs the next step. It waits for what a step did, and passes no time otherwise."""

    def __init__(self) -> None:
        self.clock = SandboxClock()
        self.steps: list[Step] = []
        self.count = 0

    def pending(self, *, age: float = 0) -> PendingRegistration:
        """Return a registration that was asked for so many seconds ago."""
        left = LIFETIME - age
        return PendingRegistration(
            request_id="r",
            expires_at=datetime.now(UTC) + timedelta(seconds=left),
            ends_at=self.clock.monotonic() + left,
            monotonic=self.clock.monotonic,
        )

    def step(self, seconds: float) -> object:
        """Run the next step; without one, let the time pass."""
        self.count += 1
        if self.steps:
            return self.steps.pop(0)()
        self.clock.advance(seconds)
        return None


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Waiting:
    waiting = Waiting()

    def pause(_: object, seconds: float) -> None:
        waiting.step(seconds)

    monkeypatch.setattr(_imap.Wait, "pause", pause)
    return waiting


def test_a_mail_that_comes_later_is_waited_for(server: MailServer, waiting: Waiting) -> None:
    waiting.steps = [partial(server.deliver, mail("Your code is 123456."))]
    assert mailbox(server)(waiting.pending()) == "123456"
    assert waiting.count == 1


def test_only_mails_from_the_senders_count_that_came_after_the_request(
    server: MailServer, waiting: Waiting
) -> None:
    decoy = "Your code is 999999."
    server.deliver(mail("Your code is 888888."), age=LIFETIME)
    for sender in (
        "other@favcrm.example",
        f"not-{SENDER}",
        f'"{SENDER}" <other@example.com>',
        f"{SENDER}.evil.example",
    ):
        server.deliver(mail(decoy, sender=sender))
    server.deliver(mail(decoy).replace(b"From:", b"From: other@example.com\r\nFrom:"))
    server.deliver(mail("Your code is 888888."), age=LIFETIME)
    server.deliver(mail(decoy).replace(b"From:", b"X-From:"))
    waiting.steps = [
        partial(server.deliver, mail("Your code is 123456.", sender=f"FavCRM <{SENDER.upper()}>"))
    ]
    assert mailbox(server)(waiting.pending(age=60)) == "123456"


def test_the_newest_mail_wins_and_none_is_read_twice(server: MailServer, waiting: Waiting) -> None:
    server.deliver(mail("Your code is 111111."))
    server.deliver(mail("Your code is 222222."))
    read_code = mailbox(server, senders=["another@favcrm.example", SENDER])
    assert read_code(waiting.pending()) == "222222"
    assert read_code(waiting.pending()) == "111111"
    waiting.steps = [partial(server.deliver, mail("Your code is 333333."))]
    assert read_code(waiting.pending()) == "333333"


def test_a_mail_with_two_codes_is_passed_over(server: MailServer, waiting: Waiting) -> None:
    server.deliver(mail("Your code is 111111."))
    server.deliver(mail("It is 222222 or 333333."))
    assert mailbox(server)(waiting.pending()) == "111111"


def test_nothing_is_changed_in_the_mailbox(server: MailServer, waiting: Waiting) -> None:
    server.deliver(mail("Welcome!"))
    server.deliver(mail("Your code is 123456."))
    before = server.state()
    read_code = mailbox(server)
    read_code.check()
    assert read_code(waiting.pending()) == "123456"
    assert server.state() == before


def test_nothing_goes_on_after_the_expiry(server: MailServer, waiting: Waiting) -> None:
    server.deliver(mail("Welcome!"))
    pending = waiting.pending()
    with pytest.raises(CodeExpiredError, match=r"in time\. 1 came without a code or with several\."):
        mailbox(server)(pending)
    assert pending.remaining() == 0


def test_a_late_mail_is_not_read(server: MailServer, waiting: Waiting) -> None:
    def late() -> None:
        waiting.clock.advance(LIFETIME)
        server.deliver(mail("Your code is 123456."))

    waiting.steps = [late]
    with pytest.raises(CodeExpiredError, match=r"in time\. Nothing was created"):
        mailbox(server)(waiting.pending())


def test_a_code_that_dies_while_its_mail_is_read_is_not_returned(
    pymap: MailServer, waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(raw: bytes, senders: frozenset[str]) -> frozenset[str]:
        waiting.clock.advance(LIFETIME)
        return frozenset({"123456"})

    pymap.deliver(mail("Your code is 123456."))
    monkeypatch.setattr(module, "codes_in", slowly)
    with pytest.raises(CodeExpiredError):
        mailbox(pymap)(waiting.pending())


def test_a_lost_connection_is_made_again(server: MailServer, waiting: Waiting) -> None:
    waiting.steps = [server.drop_connections, partial(server.deliver, mail("Your code is 123456."))]
    assert mailbox(server)(waiting.pending()) == "123456"


def test_a_server_that_is_gone_for_a_while_is_tried_again(pymap: MailServer, waiting: Waiting) -> None:
    read_code = mailbox(pymap)

    def away() -> None:
        pymap.drop_connections()
        read_code._port = 1

    def back() -> None:
        pymap.deliver(mail("Your code is 123456."))
        read_code._port = pymap.port

    waiting.steps = [away, lambda: None, back]
    assert read_code(waiting.pending()) == "123456"


@pytest.mark.parametrize(
    ("changes", "said", "advice"),
    [
        ({"password": "wrong-not-real"}, "refused the login", "Check username and password"),
        ({"password": "wröng-not-real"}, "refused the login", "Check username and password"),
        ({"folder": "Codes"}, "no folder Codes", "Check folder"),
        ({"ssl_context": None}, "certificate .* is not trusted", "pass an ssl_context"),
        ({"port": 1}, "cannot be reached", "Check host and port"),
    ],
)
def test_a_mailbox_that_cannot_be_read_raises_an_error_that_says_why(
    pymap: MailServer, waiting: Waiting, changes: dict[str, Any], said: str, advice: str
) -> None:
    for call in (mailbox(pymap, **changes).check, partial(mailbox(pymap, **changes), waiting.pending())):
        with pytest.raises(CodeUnavailableError, match=said) as caught:
            call()
        assert advice in caught.value.next_step
        assert caught.value.__cause__ is caught.value.__context__ is None
        assert "not-real" not in repr(caught.value) + str(caught.value)
        assert isinstance(pickle.loads(pickle.dumps(caught.value)), CodeUnavailableError)  # noqa: S301 - it is our own


def test_a_name_or_password_beyond_ascii_signs_in(monkeypatch: pytest.MonkeyPatch, waiting: Waiting) -> None:
    monkeypatch.setattr(mailserver, "PASSWORD", "pässword-not-real")
    with mailserver.Pymap() as server:
        mailbox(server, password=Secret("pässword-not-real")).check()


def test_a_huge_mail_is_read_in_part(server: MailServer, waiting: Waiting) -> None:
    filler = "nothing to see\n" * 40_000
    server.deliver(mail(f"Your code is 123456.\n{filler}Your code is 999999."))
    assert mailbox(server)(waiting.pending()) == "123456"


def test_a_full_mailbox_is_read_in_part(
    pymap: MailServer, waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[bytes] = []
    really = codes_in

    def count(raw: bytes, senders: frozenset[str]) -> frozenset[str] | None:
        looked.append(raw)
        return really(raw, senders)

    monkeypatch.setattr(module, "MOST_MAILS", 3)
    monkeypatch.setattr(module, "codes_in", count)
    for _ in range(5):
        pymap.deliver(mail("Welcome!"))
    with pytest.raises(CodeExpiredError, match="3 came"):
        mailbox(pymap, poll_interval=LIFETIME)(waiting.pending())
    assert len(looked) == 3


def test_no_secret_and_no_mail_is_logged_or_shown(
    server: MailServer, waiting: Waiting, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("imaplib", "imap_tools", "favcrm"):
        caplog.set_level(logging.DEBUG, logger=name)
    server.deliver(mail("Sesame: your code is 123456."))
    read_code = mailbox(server)
    read_code(waiting.pending())
    ours = [
        record.getMessage() for record in caplog.records if not record.name.startswith(("pymap", "asyncio"))
    ]
    seen = " ".join((*ours, *capfd.readouterr(), repr(read_code), repr(vars(read_code))))
    for hidden in ("123456", "Sesame", PASSWORD, repr(PASSWORD)[1:-1]):
        assert hidden not in seen
    assert repr(read_code) == f"<MailboxCode: INBOX at {server.host}>"


def test_wrong_arguments_raise_one_error_with_every_problem() -> None:
    with pytest.raises(InvalidInputError) as caught:
        MailboxCode(
            " ",
            username="a\r\nb",
            password="",
            senders=[],
            port=0,
            folder="\n",
            poll_interval=0,
            timeout=-1,
            code_lifetime=0,
        )
    named = [problem.field for problem in caught.value.problems]
    assert named == [
        "host", "senders", "port", "username", "password", "folder", "poll_interval", "timeout", "code_lifetime"
    ]  # fmt: skip


@pytest.mark.parametrize("senders", [SENDER, ["FavCRM"], [SENDER, ""]])
def test_senders_that_are_no_addresses_are_refused(senders: Any) -> None:
    with pytest.raises(InvalidInputError, match="senders"):
        MailboxCode("imap.example.com", username="a", password="b", senders=senders)


def test_a_missing_extra_raises_an_error_that_says_what_to_install(
    pymap: MailServer, waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "imap_tools", None)
    with pytest.raises(ModuleNotFoundError, match=r"favcrm\[mailbox\]"):
        mailbox(pymap).check()


# The asynchronous side


@pytest.mark.anyio
async def test_the_async_mailbox_reads_the_same_code(server: MailServer, waiting: Waiting) -> None:
    waiting.steps = [partial(server.deliver, mail("Your code is 123456."))]
    read_code = AsyncMailboxCode(**options(server))
    await read_code.check()
    assert await read_code(waiting.pending()) == "123456"
    assert repr(read_code).startswith("<AsyncMailboxCode")


@pytest.mark.anyio
async def test_cancelling_ends_the_wait_at_once(server: MailServer, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = threading.Event()
    threads: list[threading.Thread] = []
    really = _imap.Wait.pause

    def pause(self: _imap.Wait, seconds: float) -> None:
        threads.append(threading.current_thread())
        waits.set()
        really(self, seconds)

    monkeypatch.setattr(_imap.Wait, "pause", pause)
    async with anyio.create_task_group() as group:
        pending = PendingRegistration(request_id="r", expires_at=datetime.now(UTC) + timedelta(seconds=600))
        group.start_soon(AsyncMailboxCode(**options(server, poll_interval=PATIENCE * 2)), pending)
        assert await anyio.to_thread.run_sync(waits.wait, PATIENCE)
        group.cancel_scope.cancel()
    await anyio.to_thread.run_sync(threads[0].join, PATIENCE)
    assert not threads[0].is_alive()


def test_a_connection_that_is_made_after_the_end_is_cut(pymap: MailServer) -> None:
    pending = PendingRegistration(request_id="r", expires_at=datetime.now(UTC) + timedelta(seconds=600))
    wait = _imap.Wait(pending)
    wait.close()
    with pytest.raises(CodeUnavailableError), mailbox(pymap)._open(PATIENCE, wait):
        pass


# With the whole flow


def test_the_example_of_the_documentation_runs(pymap: MailServer, tmp_path: Path) -> None:
    def post(sent: Mail) -> None:
        pymap.deliver(mail(sent.body))

    trusted = tmp_path / "authority.pem"
    mailserver.authority().cert_pem.write_to_path(str(trusted))
    with Sandbox(on_mail=post).serve() as favcrm:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FAVCRM_")}
        environment |= {
            "FAVCRM_MCP_URL": favcrm.url,
            "AGENT_EMAIL": "agent@example.com",
            "AGENT_IMAP_HOST": pymap.host,
            "AGENT_IMAP_PORT": str(pymap.port),
            "AGENT_IMAP_PASSWORD": PASSWORD,
            "AGENT_IMAP_USERNAME": USERNAME,
            "CODES_COME_FROM": SENDER,
            "SSL_CERT_FILE": str(trusted),
        }
        example = Path(__file__).with_name("own_mailbox.py")
        ran = subprocess.run(
            [sys.executable, example],
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert re.fullmatch(r"org_\w+ is ready\.\n", ran.stdout), ran.stderr
