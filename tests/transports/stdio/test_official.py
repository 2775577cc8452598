"""A whole sign-up through a server on the official ``mcp`` package."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import colours
import pytest

from favcrm.sandbox import Sandbox
from favcrm.transports.stdio import AsyncStdioTransport, StdioTransport

if TYPE_CHECKING:
    from colours import Colour

    from favcrm.typing import Era

pytestmark = pytest.mark.anyio

SERVER = Path(__file__).with_name("official.py")


@pytest.mark.parametrize("era", ["auto", "session"])
async def test_a_sign_up_a_diagnosis_and_a_tool(colour: Colour, era: Era) -> None:
    sandbox = Sandbox()
    kind = StdioTransport if colour == "blocking" else AsyncStdioTransport
    with sandbox.serve() as server:
        # The child finds the packages that this process finds, wherever they are.
        env = {"PYTHONPATH": os.pathsep.join(sys.path)}
        transport = kind(sys.executable, [str(SERVER), server.url], env=env, era=era)
        try:
            favcrm = colours.provisioner(colour, transport=transport)
            pending = await favcrm.initiate(email="you@example.com", organisation_name="Stretch + Breathe")
            workspace = await favcrm.confirm(pending, code=sandbox.inbox[-1].code)
            report = await favcrm.diagnose()
            assert report.endpoint_reachable
            assert report.auth_configured
            crm = colours.client(colour, transport=transport, api_key=workspace.api_key)
            assert len(await crm.list_tools()) == report.tool_count
            made = await crm.call_tool("create_member", {"name": "Ada"})
            assert made.summary == "Ada is a member now."
            await favcrm.end()
            await crm.end()
        finally:
            await colours.Facade(transport).end()
