"""Other people's clients, each a process of its own, use the sandbox: list tools, sign up, and work with the key."""

from __future__ import annotations

import json
import secrets
import subprocess
from pathlib import Path
from typing import Any

import pytest
from peers.processes import PATIENCE, environment, installed, node, program

from favcrm.sandbox import Sandbox
from favcrm.sandbox.server import Server

CLIENTS = {"mcp-2.3": "mcp_2.py", "mcp-1.28": "mcp_1.py", "fastmcp-4": "fastmcp_4.py"}
INSPECTOR = "node_modules/@modelcontextprotocol/inspector"


@pytest.fixture
def email() -> str:
    """An address that no other test has."""
    return f"{secrets.token_hex(8)}@example.com"


@pytest.mark.parametrize("home", CLIENTS)
def test_a_client_of_another_library_signs_up_and_works(
    home: str, email: str, sandbox: Sandbox, upstream: Server, tmp_path: Path
) -> None:
    log = tmp_path / "stderr.txt"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [*program(home, f"clients/{CLIENTS[home]}"), upstream.url, email],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment(),
        ) as process,
    ):
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "CODE?\n", log.read_text()
            told, _ = process.communicate(f"{sandbox.inbox.code_for(email)}\n", PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 0, log.read_text()
    done = json.loads(told)
    assert done["tools"] == list(sandbox.tools)
    assert (done["member"]["name"], done["member"]["email"]) == ("Ada Å", email)


def test_the_inspector_signs_up_and_works(
    email: str, sandbox: Sandbox, upstream: Server, tmp_path: Path
) -> None:
    def inspect(method: str, *options: str) -> dict[str, Any]:
        # What it remembers goes into the home folder.
        ran = subprocess.run(
            [
                node(),
                str(inspector),
                "--cli",
                upstream.url,
                "--transport",
                "http",
                "--method",
                method,
                *options,
            ],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            env=environment(HOME=str(tmp_path)),
        )
        assert ran.returncode == 0, ran.stderr
        answer: dict[str, Any] = json.loads(ran.stdout)
        return answer

    def call(tool: str, arguments: list[str], *options: str) -> dict[str, Any]:
        answer = inspect("tools/call", "--tool-name", tool, "--tool-arg", *arguments, *options)
        data: dict[str, Any] = answer["structuredContent"]["data"]
        return data

    package = installed("inspector") / INSPECTOR
    inspector = package / json.loads((package / "package.json").read_text())["bin"]["mcp-inspector"]
    listed = inspect("tools/list")["tools"]
    assert listed == [tool.entry for tool in sandbox.tools.values()]
    organisation = [f"email={email}", "organisationName=Stretch + Breathe"]
    pending = call("register_organisation_request", organisation)
    # Without quotation marks the code would be a number to the Inspector.
    answer = [f"requestId={pending['requestId']}", f'code="{sandbox.inbox.code_for(email)}"']
    workspace = call("register_organisation_verify", answer)
    bearer = f"Authorization: Bearer {workspace['apiKey']}"
    created = call("create_member", ["name=Ada Å", f"email={email}"], "--header", bearer)
    assert (created["member"]["name"], created["member"]["email"]) == ("Ada Å", email)
