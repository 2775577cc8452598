from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from sandbox.clients import InProcess, OverHTTP

from favcrm.sandbox import Sandbox, SandboxClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.clients import SandboxClient

    from favcrm.sandbox.server import Server

NOON = 1_778_500_800.0
"""2026-05-11, noon."""


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox(clock=SandboxClock(start=NOON))


@pytest.fixture
def server(sandbox: Sandbox) -> Iterator[Server]:
    with sandbox.serve() as server:
        yield server


@pytest.fixture(params=["in process", "over HTTP"])
def client(request: pytest.FixtureRequest, sandbox: Sandbox) -> Iterator[SandboxClient]:
    """A client in process, and one over HTTP: a test runs with each."""
    if request.param == "in process":
        yield InProcess(sandbox)
        return
    with sandbox.serve() as server, httpx.Client() as http:
        yield OverHTTP(sandbox, http, server.url)
