"""The how-to about LangGraph runs as it stands: each step in a process of its own, against a sandbox on loopback.

LangGraph is imported by the example alone, which runs as a script.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from favcrm import FavCRMClient, SecretRef
from favcrm.sandbox import Sandbox
from favcrm.sandbox.sign_up_tools import mask
from favcrm.stores import ConfigFileStore

EXAMPLE = Path(__file__).parents[2] / "docs" / "how-to" / "examples" / "langgraph_sign_up.py"
PATIENCE = 60.0
TENANT = "tenant-7"
EMAIL = "you@example.com"
NAME = "Stretch + Breathe"
VERIFY = "register_organisation_verify"


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox()


@pytest.fixture
def url(sandbox: Sandbox) -> Iterator[str]:
    with sandbox.serve() as server:
        yield server.url


class Worker:
    """Each step is a new process. All of them share a directory and the sandbox."""

    def __init__(self, here: Path, url: str) -> None:
        self.here = here
        self.url = url
        self.store = ConfigFileStore(here / "keys" / f"{TENANT}.toml")

    def try_to(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        settings = ("FAVCRM_", "LANGCHAIN_", "LANGGRAPH_", "LANGSMITH_")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(settings)}
        environment |= {
            "HOME": str(self.here),
            "FAVCRM_MCP_URL": self.url,
            "LANGGRAPH_STRICT_MSGPACK": "true",
        }
        return subprocess.run(
            [sys.executable, EXAMPLE, *arguments],
            cwd=self.here,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def run(self, *arguments: str) -> str:
        ran = self.try_to(*arguments)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def checkpoints(self) -> dict[str, bytes]:
        """Every file of the checkpointer, its write-ahead log too."""
        return {path.name: path.read_bytes() for path in self.here.glob("checkpoints.sqlite*")}

    def go_back_to(self, files: dict[str, bytes]) -> None:
        """Leave the disk as if a process had been killed before it wrote its next checkpoint."""
        for name in self.checkpoints():
            (self.here / name).unlink()
        for name, content in files.items():
            (self.here / name).write_bytes(content)


@pytest.fixture
def worker(tmp_path: Path, url: str) -> Worker:
    return Worker(tmp_path, url)


def wrong(code: str) -> str:
    return f"{(int(code) + 1) % 1_000_000:06}"


def test_one_process_asks_and_another_goes_on(worker: Worker, sandbox: Sandbox) -> None:
    asked = worker.run("start", TENANT, EMAIL, NAME)
    assert asked.startswith("Waiting for a code: ")
    waiting = worker.checkpoints()
    done = worker.run("resume", TENANT, sandbox.inbox.code_for(EMAIL))

    ref = SecretRef.of("config", TENANT)
    key = worker.store.get(ref)
    assert done == f"{ref} {key.fingerprint} ready=True\n"
    assert len(sandbox.inbox) == 1
    assert sandbox.count(VERIFY) == sandbox.count(VERIFY, "done") == 1
    with FavCRMClient(worker.url, api_key=ref, store=worker.store) as crm:
        crm.call_tool("list_services")

    # What SQLite wrote meanwhile counts too, so both moments are looked at.
    held = b"".join([*waiting.values(), *worker.checkpoints().values()])
    assert ref.encode() in held
    for secret in (key.reveal(), EMAIL, mask(EMAIL), EMAIL.partition("@")[2]):
        assert secret.encode() not in held
    for output in (asked, done):
        assert key.reveal() not in output
        assert "@" not in output


@pytest.mark.parametrize("bad", ["wrong", "12345"])
def test_a_wrong_code_is_asked_for_again(worker: Worker, sandbox: Sandbox, bad: str) -> None:
    worker.run("start", TENANT, EMAIL, NAME)
    code = sandbox.inbox.code_for(EMAIL)
    again = worker.run("resume", TENANT, wrong(code) if bad == "wrong" else bad)
    assert ("InvalidCodeError" if bad == "wrong" else "InvalidInputError") in again
    assert worker.run("resume", TENANT, code).endswith("ready=True\n")
    assert len(sandbox.inbox) == 1


def test_a_process_killed_after_the_mail_sends_no_second_one(worker: Worker, sandbox: Sandbox) -> None:
    worker.run("start", TENANT, EMAIL, NAME)
    worker.go_back_to({})
    worker.run("start", TENANT, EMAIL, NAME)
    assert len(sandbox.inbox) == 1
    assert worker.run("resume", TENANT, sandbox.inbox.code_for(EMAIL)).endswith("ready=True\n")


def test_a_process_killed_after_the_key_was_saved_finds_it(worker: Worker, sandbox: Sandbox) -> None:
    worker.run("start", TENANT, EMAIL, NAME)
    waiting = worker.checkpoints()
    code = sandbox.inbox.code_for(EMAIL)
    done = worker.run("resume", TENANT, code)
    worker.go_back_to(waiting)
    assert worker.run("resume", TENANT, code) == done
    assert sandbox.count(VERIFY) == 1


def test_a_node_that_failed_is_run_again_with_its_code(worker: Worker, sandbox: Sandbox) -> None:
    worker.run("start", TENANT, EMAIL, NAME)
    keys = worker.here / "keys"
    keys.write_text("no directory")
    failed = worker.try_to("resume", TENANT, sandbox.inbox.code_for(EMAIL))
    assert failed.returncode != 0
    assert "StoreError" in failed.stderr
    assert sandbox.count(VERIFY) == 0
    keys.unlink()
    assert worker.run("resume", TENANT).endswith("ready=True\n")
    assert len(sandbox.inbox) == 1


def test_after_a_dead_code_the_tenant_starts_again(worker: Worker, sandbox: Sandbox) -> None:
    worker.run("start", TENANT, EMAIL, NAME)
    sandbox.clock.advance(sandbox.rules.code_ttl + 1)
    failed = worker.try_to("resume", TENANT, sandbox.inbox.code_for(EMAIL))
    assert "CodeExpiredError" in failed.stderr
    held = b"".join(worker.checkpoints().values())
    assert b"CodeExpiredError" in held  # LangGraph keeps what a node raised
    assert EMAIL.partition("@")[2].encode() not in held
    worker.run("start", TENANT, EMAIL, NAME)
    assert len(sandbox.inbox) == 2
    assert worker.run("resume", TENANT, sandbox.inbox.code_for(EMAIL)).endswith("ready=True\n")
