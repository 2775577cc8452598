"""Run where nothing but the core is installed: a sign-up, and a call by each transport, in each colour.

The other tests have trio about, and much else that users need not have.
"""

from __future__ import annotations

import asyncio
import sys

from servers import answers, serve

import favcrm
from favcrm import transports
from favcrm.sandbox import Sandbox
from favcrm.stores import MemoryStore

EMAIL = "you@example.com"
REGISTRATION = favcrm.Registration(email=EMAIL, organisation_name="Stretch + Breathe")
PROGRAM = """
import json, sys
for line in sys.stdin:
    print(json.dumps({"jsonrpc": "2.0", "id": json.loads(line)["id"], "result": {"tools": []}}), flush=True)
"""


def blocking(url: str) -> None:
    """Sign up, and list the tools each way."""
    sandbox = Sandbox()
    with favcrm.FavCRMProvisioner(transport=sandbox.transport()) as provisioner:
        done = provisioner.provision(
            REGISTRATION, read_code=lambda _: sandbox.inbox.code_for(EMAIL), store=MemoryStore()
        )
    assert done.report.ready
    for transport in (
        transports.HTTPTransport(url, era="bare"),
        transports.StdioTransport(sys.executable, ["-c", PROGRAM], era="bare"),
    ):
        with favcrm.FavCRMClient(transport=transport) as crm:
            assert crm.list_tools() == ()
        transport.close()


async def asynchronous(url: str) -> None:
    """Do the same."""
    sandbox = Sandbox()

    async def read_code(_: favcrm.PendingRegistration) -> str:
        return sandbox.inbox.code_for(EMAIL)

    async with favcrm.AsyncFavCRMProvisioner(transport=sandbox.async_transport()) as provisioner:
        done = await provisioner.provision(REGISTRATION, read_code=read_code, store=MemoryStore())
    assert done.report.ready
    for transport in (
        transports.AsyncHTTPTransport(url, era="bare"),
        transports.AsyncStdioTransport(sys.executable, ["-c", PROGRAM], era="bare"),
    ):
        async with favcrm.AsyncFavCRMClient(transport=transport) as crm:
            assert await crm.list_tools() == ()
        await transport.aclose()


with serve(answers({"tools": []})) as server:
    blocking(server.url)
    asyncio.run(asynchronous(server.url))
