"""A key or a one-time token that a tool answers with is masked unless the user asks for it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from servers import Peer, Request, message, serve, whole

TOKEN = "not-a-real-token-6789"


def invitation(peer: Peer, request: Request) -> None:
    if request.json["method"] != "tools/call":
        # The client first asks whether the server has sessions, and this one has none.
        unknown = {"code": -32601, "message": "Method not found"}
        peer.send(whole(json.dumps({"jsonrpc": "2.0", "id": request.json["id"], "error": unknown}).encode()))
        return
    data = {"surveyToken": TOKEN, "tokenCount": 5}
    told = {"structuredContent": {"data": data, "summary": f"Send {TOKEN}.", "renderType": "card"}}
    peer.send(whole(message(request, told)))


@pytest.mark.parametrize("mode", [(), ("--json",)], ids=["for people", "for machines"])
@pytest.mark.parametrize(("options", "shown"), [((), "...6789"), (("--show-key",), TOKEN)])
def test_show_key_shows_a_token(
    succeed: Any, mode: tuple[str, ...], options: tuple[str, ...], shown: str
) -> None:
    call = (*mode, "tool", "call", "create_survey_invitation", *options)
    with serve(invitation) as server:
        output = succeed(*call, FAVCRM_MCP_URL=server.url, FAVCRM_API_KEY="not-a-real-key-6789")
    payload = json.loads(output[output.index("{") :])
    assert payload == {"surveyToken": shown, "tokenCount": 5}
    assert ("Send [hidden]." in output) is not bool(mode)
