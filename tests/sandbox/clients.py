"""Two clients of a sandbox, for tests that must hold on both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import httpx
from servers import PATIENCE

from favcrm._mcp.jsonrpc import AnswerReader, encode_request
from favcrm.errors import NotSentError, OutcomeUnknownError
from favcrm.transport import Request

if TYPE_CHECKING:
    from favcrm.sandbox import Sandbox
    from favcrm.secret import Secret
    from favcrm.transport import Response

SHORT = 0.3
"""Seconds that a client waits on loopback for an answer that never comes."""

HEADERS = {"content-type": "application/json", "accept": "application/json, text/event-stream"}


class SandboxClient(Protocol):
    """Calls a sandbox.

    Attributes:
        timeout: Seconds that a client waits for an answer.
    """

    sandbox: Sandbox
    timeout: float

    def request(self, method: str, params: dict[str, Any], key: Secret | None = None) -> Response: ...


class InProcess:
    """Calls it through its own transport."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.timeout = PATIENCE
        self._transport = sandbox.transport()

    def request(self, method: str, params: dict[str, Any], key: Secret | None = None) -> Response:
        return self._transport.request(Request(method, params, api_key=key, timeout=self.timeout))


class OverHTTP:
    """Calls it with bare POSTs of httpx."""

    def __init__(self, sandbox: Sandbox, client: httpx.Client, url: str) -> None:
        self.sandbox = sandbox
        self.timeout = PATIENCE
        self._client = client
        self._url = url

    def request(self, method: str, params: dict[str, Any], key: Secret | None = None) -> Response:
        headers = HEADERS if key is None else {**HEADERS, "authorization": f"Bearer {key.reveal()}"}
        try:
            with self._client.stream(
                "POST",
                self._url,
                content=encode_request(7, method, params),
                headers=headers,
                timeout=self.timeout,
            ) as answer:
                reader = AnswerReader(7, answer.status_code, dict(answer.headers))
                try:
                    for chunk in answer.iter_bytes():
                        reader.feed(chunk)
                except httpx.RemoteProtocolError:
                    return reader.finish(cut=True)
                return reader.finish()
        except httpx.ConnectError as error:
            raise NotSentError(str(error)) from None
        except (httpx.RemoteProtocolError, httpx.ReadTimeout) as error:
            raise OutcomeUnknownError(str(error)) from None


def call(client: SandboxClient, tool: str, key: Secret | None = None, /, **arguments: object) -> Response:
    """Call a tool."""
    return client.request("tools/call", {"name": tool, "arguments": arguments}, key)


def data(response: Response) -> Any:
    """Return the payload of an answer that is no refusal."""
    assert response.status == 200
    assert isinstance(response.result, dict)
    assert response.result["isError"] is False, response.result
    structured: Any = response.result["structuredContent"]
    return structured["data"]


def refusal(response: Response) -> str:
    """Return the text of a refusal in the default form."""
    result: Any = response.result
    assert result["isError"] is True
    assert "structuredContent" not in result
    (block,) = result["content"]
    assert block["type"] == "text"
    text: str = block["text"]
    return text


EMAIL = "you@example.com"


def ask(client: SandboxClient, email: str = EMAIL, **more: object) -> Any:
    """Request a sign-up and return its payload."""
    return data(
        call(client, "register_organisation_request", email=email, organisationName="Stretch", **more)
    )


def other_code(code: str) -> str:
    """Return a code that is not this one."""
    return f"{(int(code) + 1) % 10**6:06}"
