"""A stand-in for the vendor's command, as far as it is publicly known: text errors, exit 0 on a refusal, a saved key.

It is run as a program of its own, and knows nothing of this package. What it was started with it notes in the file
that NOTES names.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NoReturn

SIGN_UP = {
    "request": (
        "register_organisation_request",
        ["email", "organisation-name", "industry", "country", "timezone"],
    ),
    "verify": ("register_organisation_verify", ["request-id", "code"]),
}
INVITE = {
    "create": ("create_team_member_invite", ["email", "name", "role", "expires-in-hours"]),
    "accept-request": ("accept_team_invite_request", ["token"]),
    "accept-verify": ("accept_team_invite_verify", ["token", "code", "name"]),
}
NO_CONNECTION = """Error: error sending request for url ({url})

Caused by:
    0: client error (Connect)
    1: tcp connect error: {reason}
    2: {reason}
"""
BROKEN = """Error: error sending request for url ({url})

Caused by:
    0: client error (SendRequest)
    1: connection error: {reason}
"""


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("favcrm", allow_abbrev=False)
    parser.add_argument("--version", action="version", version="favcrm 0.1.4")
    parser.add_argument("--url", default=os.environ.get("FAVCRM_MCP_URL"))
    parser.add_argument(
        "--api-key", default=os.environ.get("FAVCRM_API_KEY") or os.environ.get("FAVCRM_MCP_TOKEN")
    )
    parser.add_argument("--json", action="store_true")
    groups = parser.add_subparsers(required=True)
    for group, commands in (("signup", SIGN_UP), ("invite", INVITE)):
        above = groups.add_parser("team").add_subparsers(required=True) if group == "invite" else groups
        below = above.add_parser(group).add_subparsers(required=True)
        for name, (tool, flags) in commands.items():
            command = below.add_parser(name, allow_abbrev=False)
            command.set_defaults(tool=tool, flags=flags)
            for flag in flags:
                command.add_argument(f"--{flag}", type=int if flag == "expires-in-hours" else str)
            if name.endswith("verify"):
                command.add_argument("--no-save", action="store_true")
                command.add_argument("--show-key", action="store_true")
    tools = groups.add_parser("tool").add_subparsers(required=True)
    tools.add_parser("list").set_defaults(tool=None)
    call = tools.add_parser("call")
    call.add_argument("tool")
    call.add_argument("arguments", nargs="?", default="{}", type=json.loads)
    return parser.parse_args()


def fail(message: str) -> NoReturn:
    sys.stderr.write(message if message.startswith("Error: ") else f"Error: {message}\n")
    sys.exit(1)


def post(url: str, key: str | None, method: str, params: Any) -> Any:
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(url, body, headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request) as response:  # noqa: S310
            text = response.read().decode()
    except urllib.error.HTTPError as error:
        fail(f"HTTP {error.code} {error.reason} from {url}: {error.read().decode()}")
    except urllib.error.URLError as error:
        refused = isinstance(error.reason, ConnectionRefusedError)
        fail((NO_CONNECTION if refused else BROKEN).format(url=url, reason=f"{error.reason}"))
    except OSError as error:
        fail(BROKEN.format(url=url, reason=error))
    except http.client.HTTPException:
        fail("error decoding response body")
    frames = [line.removeprefix("data:") for line in text.splitlines() if line.startswith("data:")]
    try:
        message = json.loads(frames[0] if frames else text)
    except ValueError:
        fail("no JSON or SSE payload in response")
    if "error" in message:
        fail(f"MCP error {message['error']['code']}: {message['error']['message']}")
    return message.get("result") or fail("MCP response missing result")


def payload(result: Any) -> Any:
    structured = result.get("structuredContent")
    if structured is not None:
        return structured.get("data", structured)
    if not result.get("content"):
        return result
    text = result["content"][0]["text"]
    try:
        return json.loads(text)
    except ValueError:
        return text


def config_file() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home, "favcrm", "config.toml")


def stored_key() -> str | None:
    if not config_file().exists():
        return None
    return dict(line.split(" = ") for line in config_file().read_text().splitlines())["api_key"].strip('"')


def show(found: Any) -> None:
    sys.stdout.write(f"{json.dumps(found, indent=2)}\n")


def main() -> None:
    if notes := os.environ.get("NOTES"):
        with Path(notes).open("a") as file:
            file.write(json.dumps({"arguments": sys.argv[1:], "environment": dict(os.environ)}) + "\n")
    given = read_arguments()
    if given.tool is None:
        found = post(given.url, given.api_key or stored_key(), "tools/list", {})["tools"]
        show(found)
        return
    if "flags" in given:
        named = {flag: getattr(given, flag.replace("-", "_")) for flag in given.flags}
        camel = {
            flag: flag.split("-")[0] + "".join(map(str.title, flag.split("-")[1:])) for flag in given.flags
        }
        arguments = {camel[flag]: value for flag, value in named.items() if value is not None}
        key = given.api_key or stored_key() if given.tool == "create_team_member_invite" else None
    else:
        arguments, key = given.arguments, given.api_key or stored_key()
    found = payload(post(given.url, key, "tools/call", {"name": given.tool, "arguments": arguments}))
    if "no_save" in given and not given.no_save:
        config_file().parent.mkdir(parents=True, exist_ok=True)
        config_file().write_text(f'api_key = "{found["apiKey"]}"\n')
        found["apiKeySavedTo"] = str(config_file())
    show(found)


if __name__ == "__main__":
    main()
