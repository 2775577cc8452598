"""A key or a one-time token that a tool answers with is shown only to who asks for it."""

from __future__ import annotations

import json

import pytest
from cli.processes import run
from servers import Peer, Request, message, serve, whole

from favcrm.sandbox import Sandbox

TOKEN = "not-a-real-token-6789"


def invitation(peer: Peer, request: Request) -> None:
    if request.json["method"] != "tools/call":
        # It has no sessions, which is found out first.
        unknown = {"code": -32601, "message": "Method not found"}
        peer.send(whole(json.dumps({"jsonrpc": "2.0", "id": request.json["id"], "error": unknown}).encode()))
        return
    data = {"surveyToken": TOKEN, "tokenCount": 5}
    told = {"structuredContent": {"data": data, "summary": f"Send {TOKEN}.", "renderType": "card"}}
    peer.send(whole(message(request, told)))


@pytest.mark.parametrize("mode", [(), ("--json",)], ids=["for people", "for machines"])
@pytest.mark.parametrize(("options", "shown"), [((), "...6789"), (("--show-key",), TOKEN)])
def test_a_token_in_an_answer(
    environment: dict[str, str], mode: tuple[str, ...], options: tuple[str, ...], shown: str
) -> None:
    with serve(invitation) as server:
        environment |= {"FAVCRM_MCP_URL": server.url, "FAVCRM_API_KEY": "not-a-real-key-6789"}
        ran = run(*mode, "tool", "call", "create_survey_invitation", *options, environment=environment)
    assert (ran.returncode, ran.stderr) == (0, "")
    payload = json.loads(ran.stdout[ran.stdout.index("{") :])
    assert payload == {"surveyToken": shown, "tokenCount": 5}
    assert ("Send [hidden]." in ran.stdout) is not bool(mode)


def test_a_tool_with_a_method_of_its_own_is_refused(environment: dict[str, str]) -> None:
    sandbox = Sandbox()
    with sandbox.serve() as server:
        environment |= {"FAVCRM_MCP_URL": server.url, "FAVCRM_API_KEY": sandbox.add_organisation().reveal()}
        ran = run(
            "tool", "call", "create_team_member_invite", '{"email": "a@example.com"}', environment=environment
        )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "call FavCRMClient.invite" in ran.stderr
    assert sandbox.calls == ()
