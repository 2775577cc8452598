"""What the command's JSON says of an error beside the words for people: what a machine acts on."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result
from servers import answers, serve, unused_address
from transports.speakers import MODERN, speaks

from favcrm.sandbox import RefusalForm, Sandbox
from favcrm.sandbox.server import Server

Command = Callable[..., Result]

EMAIL = "you@example.com"
SIGN_UP = ("signup", "request", "--email", EMAIL, "--organisation-name", "Acme")
CREATE_MEMBER = ("tool", "call", "create_member", '{"name": "Ada", "phone": "+852 5555 0100"}')


@pytest.fixture
def fail(environment: dict[str, str], command: Command) -> Callable[..., dict[str, Any]]:
    """Run a command that fails, at an address, and return the error that it writes as JSON."""

    def run(url: str, *arguments: str, key: str = "") -> dict[str, Any]:
        environment["FAVCRM_MCP_URL"] = url
        environment["FAVCRM_API_KEY"] = key or secrets.token_urlsafe()
        ran = command("--json", *arguments)
        assert (ran.exit_code, ran.stdout) == (1, "")
        error: dict[str, Any] = json.loads(ran.stderr)["error"]
        return error

    return run


def test_an_existing_account_comes_with_its_login_url(fail: Any, server: Server, sandbox: Sandbox) -> None:
    sandbox.add_account(EMAIL)
    error = fail(server.url, *SIGN_UP)
    assert error["type"] == "AlreadyRegisteredError"
    assert error["login_url"].startswith("https://")


def test_a_full_plan_comes_with_its_upgrade_action(fail: Any, server: Server, sandbox: Sandbox) -> None:
    sandbox.rules.customers = 0
    sandbox.refusal_form = RefusalForm.HTTP_JSON
    error = fail(server.url, *CREATE_MEMBER, key=sandbox.add_organisation().reveal())
    assert error["type"] == "PlanLimitError"
    assert error["upgrade_action"]


def test_a_request_that_was_not_sent_says_whether_trying_again_can_help(fail: Any) -> None:
    with unused_address() as url:
        error = fail(url, *SIGN_UP)
    assert (error["type"], error["permanent"]) == ("NotSentError", False)


def test_a_server_that_asks_for_input_is_told_with_what_it_asks_for(fail: Any) -> None:
    asked = {"who": {"method": "elicitation/create", "params": {"message": "Who are you?"}}}
    asks = answers({"resultType": "input_required", "inputRequests": asked})
    with serve(speaks({**MODERN, "tools/call": asks})) as server:
        error = fail(server.url, "tool", "call", "count")
    assert (error["type"], error["input_requests"]) == ("InputRequiredError", asked)
