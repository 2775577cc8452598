from __future__ import annotations

from collections.abc import Iterator

import pytest
from codes import mailserver
from codes.scripted import ScriptedServer


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare pymap a look-up of this machine's name for each connection."""
    monkeypatch.setenv("FQDN", "localhost")


@pytest.fixture(params=["pymap", "dovecot"])
def server(request: pytest.FixtureRequest, named: None) -> Iterator[mailserver.MailServer]:
    """A mailbox server, empty. dovecot runs where it is installed."""
    if request.param == "dovecot" and mailserver.DOVECOT is None:
        pytest.skip("dovecot is not installed here")
    with (mailserver.Pymap if request.param == "pymap" else mailserver.Dovecot)() as running:
        yield running


@pytest.fixture
def pymap(named: None) -> Iterator[mailserver.MailServer]:
    with mailserver.Pymap() as running:
        yield running


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running
