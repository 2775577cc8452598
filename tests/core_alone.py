"""Run where nothing but the core is installed: a sign-up, and a call over HTTP, in each colour.

The other tests have trio about, and much else that users need not have.
"""

from __future__ import annotations

import asyncio

from servers import answers, serve

import favcrm
from favcrm.sandbox import Sandbox
from favcrm.stores import MemoryStore

EMAIL = "you@example.com"
REGISTRATION = favcrm.Registration(email=EMAIL, organisation_name="Stretch + Breathe")


def blocking(url: str) -> None:
    """Sign up, and list the tools."""
    sandbox = Sandbox()
    with favcrm.FavCRMProvisioner(transport=sandbox.transport()) as provisioner:
        done = provisioner.provision(
            REGISTRATION, read_code=lambda _: sandbox.inbox.code_for(EMAIL), store=MemoryStore()
        )
    assert done.report.ready
    with favcrm.FavCRMClient(url, era="bare") as crm:
        assert crm.list_tools() == ()


async def asynchronous(url: str) -> None:
    """Do the same."""
    sandbox = Sandbox()

    async def read_code(_: favcrm.PendingRegistration) -> str:
        return sandbox.inbox.code_for(EMAIL)

    async with favcrm.AsyncFavCRMProvisioner(transport=sandbox.async_transport()) as provisioner:
        done = await provisioner.provision(REGISTRATION, read_code=read_code, store=MemoryStore())
    assert done.report.ready
    async with favcrm.AsyncFavCRMClient(url, era="bare") as crm:
        assert await crm.list_tools() == ()


with serve(answers({"tools": []})) as server:
    blocking(server.url)
    asyncio.run(asynchronous(server.url))
