"""How a run of the command ends, and what is made of what it wrote."""

from __future__ import annotations

import math
import os
import secrets
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, cast

import anyio
import colours
import pytest
from colours import Colour
from servers import PATIENCE
from transports.cli.commands import HANGS, SHELL, Command, alive, write_command

from favcrm import (
    FavCRMError,
    FavCRMProvisioner,
    InvalidInputError,
    NotSentError,
    OutcomeUnknownError,
    RetryPolicy,
    Secret,
)
from favcrm._backends import run_sync
from favcrm.transports import JSONRPCError
from favcrm.transports.cli import process as cli_process
from favcrm.transports.cli.process import _Child
from favcrm.transports.waiting import BlockingSignal

pytestmark = pytest.mark.anyio

ENDPOINT = "http://127.0.0.1:9/mcp"
CALL = {"name": "any", "arguments": {}}
ONCE = RetryPolicy.never()
EMAIL, CODE = "you@example.com", "493817"
VERIFY = {"name": "register_organisation_verify", "arguments": {"requestId": "signup_req_1", "code": CODE}}


async def ask(
    colour: Colour,
    directory: Path,
    script: str,
    params: Any = CALL,
    *,
    method: str = "tools/call",
    timeout: float = 30.0,
    key: Secret | None = None,
    **env: str,
) -> Any:
    """Return what one request through a command gives, which is this script of the shell."""
    transport = write_command(directory, SHELL + script).reach(colour, ENDPOINT, **env)
    try:
        return await transport.request(method, params, api_key=key, timeout=timeout)
    finally:
        await transport.end()


# What it writes on stdout


@pytest.mark.parametrize(
    ("written", "data"),
    [
        ('{"services": []}', {"services": []}),
        ("[1, 2]", [1, 2]),
        ("null", None),
        ("7.5", 7.5),
        ('{"data": 1, "total": 2}', {"data": 1, "total": 2}),
        ('{"data": 1, "summary": "One.", "renderType": "json"}', 1),
        (
            '{"success": true, "code": "DONE", "message": "Done."}',
            {"success": True, "code": "DONE", "message": "Done."},
        ),
    ],
)
async def test_a_payload(written: str, data: object, directory: Path) -> None:
    response = await ask("blocking", directory, f"echo '{written}'")
    assert response.result["structuredContent"]["data"] == data
    assert response.result["isError"] is False


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("Not found.", "Not found."),
        ('"Not found."', "Not found."),
        ('{"isError": true}', None),
        ('{"code": "NOT_FOUND", "message": "Not found."}', None),
    ],
)
async def test_what_is_no_payload_is_a_refusal(written: str, told: str | None, directory: Path) -> None:
    response = await ask("blocking", directory, f"echo '{written}'")
    assert response.result["isError"] is True
    if told:
        assert response.result["content"] == [{"type": "text", "text": told}]


async def test_a_key_in_a_sentence_is_a_key(directory: Path) -> None:
    # A key in words that begins with an X may be a placeholder.
    key = Secret(f"fav_mcp_k{secrets.token_urlsafe(24)}")
    command = write_command(directory, SHELL + 'echo "Your key: $ODD_KEY"')
    transport = command.transport("blocking", ENDPOINT, ODD_KEY=key.reveal())
    with FavCRMProvisioner(transport=transport) as favcrm:
        assert favcrm.confirm("signup_req_1", CODE).api_key == key


async def test_what_is_no_utf_8_is_replaced(colour: Colour, directory: Path) -> None:
    response = await ask(colour, directory, r"""printf '{"name": "\377"}'""")
    assert response.result["structuredContent"]["data"] == {"name": "\N{REPLACEMENT CHARACTER}"}


async def test_nothing_is_no_answer(directory: Path) -> None:
    assert (await ask("blocking", directory, "exit 0")).defect == "is empty"


@pytest.mark.parametrize("stream", ["1", "2"])
async def test_too_much(colour: Colour, directory: Path, stream: str) -> None:
    response = await ask(colour, directory, f"yes >&{stream}")
    assert response.defect == "is larger than this client reads"


async def test_much_on_both_streams(colour: Colour, directory: Path) -> None:
    response = await ask(colour, directory, "yes | head -c 300000 >&2; echo '{\"fine\": true}'")
    assert response.result["structuredContent"]["data"] == {"fine": True}


@pytest.mark.parametrize(
    "written",
    [
        '[{"name": "a", "description": "A.", "input_schema": {"type": "object"}, "output_schema": null}]',
        '{"tools": [{"name": "a", "description": "A.", "inputSchema": {"type": "object"}}], "nextCursor": "2"}',
    ],
)
async def test_a_list_of_tools(written: str, directory: Path) -> None:
    response = await ask("blocking", directory, f"echo '{written}'", {}, method="tools/list")
    assert response.result == {
        "tools": [{"name": "a", "description": "A.", "inputSchema": {"type": "object"}}]
    }


@pytest.mark.parametrize("written", ["none", '{"count": 0}', ""])
async def test_no_list_of_tools(written: str, directory: Path) -> None:
    response = await ask("blocking", directory, f"echo '{written}'", {}, method="tools/list")
    assert response.defect == "is no list of tools"


async def test_an_entry_that_is_no_tool_is_left_to_the_judge(directory: Path) -> None:
    response = await ask("blocking", directory, "echo '[\"a\"]'", {}, method="tools/list")
    assert response.result == {"tools": ["a"]}


# What it writes on stderr


@pytest.mark.parametrize(
    ("told", "status", "body"),
    [
        ("HTTP 429 from http://127.0.0.1:9/mcp: slow down", 429, "slow down"),
        ("HTTP 404 Not Found from https://a.example/mcp: <html>\n</html>", 404, "<html>\n</html>"),
        ("HTTP 401 Unauthorized from https://a.example/mcp:", 401, ""),
    ],
)
async def test_an_http_status(told: str, status: int, body: str, directory: Path) -> None:
    response = await ask("blocking", directory, 'echo "WARN old"; echo "Error: $TOLD" >&2; exit 1', TOLD=told)
    assert (response.status, response.body) == (status, body)


async def test_a_body_like_our_own_error_is_a_body(directory: Path) -> None:
    script = (
        'printf \'Error: HTTP 502 from http://a.example/mcp: Sorry.\\n{"error": {"type": "x"}}\' >&2; exit 1'
    )
    assert (await ask("blocking", directory, script)).status == 502


async def test_a_json_rpc_error(directory: Path) -> None:
    response = await ask("blocking", directory, "echo 'Error: MCP error -32602: Wrong: a' >&2; exit 1")
    assert response.error == JSONRPCError(-32602, "Wrong: a")
    assert response.error.message == "Wrong: a"


@pytest.mark.parametrize(
    ("told", "defect"),
    [
        ("MCP response missing result", "has no result"),
        ("no JSON or SSE payload in response", "is no JSON-RPC answer"),
    ],
)
async def test_a_defect(told: str, defect: str, directory: Path) -> None:
    assert (await ask("blocking", directory, f"echo 'Error: {told}' >&2; exit 1")).defect == defect


URL = "error sending request for url (https://a.example/mcp)"
CAUSES = "\n\nCaused by:\n    0: client error (Connect)\n    1: "
INSTALL = 'This command needs the extra "cli". Install it with: pip install "favcrm[cli]"'


@pytest.mark.parametrize(
    ("told", "permanent"),
    [
        (f"Error: {URL}{CAUSES}tcp connect error: Connection refused (os error 111)", False),
        (f"Error: {URL}{CAUSES}dns error: failed to lookup address information", False),
        (f"Error: {URL}{CAUSES}invalid peer certificate: UnknownIssuer", True),
        (INSTALL, True),
    ],
    ids=["refused", "no name", "not trusted", "not installed"],
)
async def test_what_was_certainly_not_sent(told: str, permanent: bool, directory: Path) -> None:
    with pytest.raises(NotSentError) as raised:
        await ask("blocking", directory, 'echo "$TOLD" >&2; exit 1', TOLD=told)
    assert raised.value.permanent is permanent
    assert "Nothing was sent." in raised.value.message


@pytest.mark.parametrize(
    "told", [f"Error: {URL}", "error decoding response body", "thread 'main' panicked", ""]
)
async def test_what_may_have_been_sent(told: str, directory: Path) -> None:
    with pytest.raises(OutcomeUnknownError, match="exit status 1"):
        await ask("blocking", directory, 'echo "$TOLD" >&2; exit 1', TOLD=told)


async def test_a_wrong_use_sends_nothing(colour: Colour, directory: Path) -> None:
    script = "echo 'error: unexpected argument' >&2; echo 'Usage: favcrm'; exit 2"
    with pytest.raises(NotSentError, match="unexpected argument") as raised:
        await ask(colour, directory, script)
    assert raised.value.permanent


async def test_a_signal(colour: Colour, directory: Path) -> None:
    with pytest.raises(OutcomeUnknownError, match="signal 9"):
        await ask(colour, directory, "kill -9 $$")


@pytest.mark.parametrize("status", ["1", "101"])
async def test_a_key_before_a_failure_is_a_key(
    colour: Colour, directory: Path, key: Secret, status: str
) -> None:
    """Such as a command that cannot write its config file."""
    script = 'echo "{\\"apiKey\\": \\"$ODD_KEY\\"}"; echo "Error: cannot save" >&2; exit ' + status
    transport = write_command(directory, SHELL + script).transport(colour, ENDPOINT, ODD_KEY=key.reveal())
    favcrm = colours.provisioner(colour, transport=transport, retry=ONCE)
    workspace = await favcrm.confirm("signup_req_1", CODE)
    assert workspace.api_key == key


async def test_a_key_before_the_time_is_over_is_a_key(colour: Colour, directory: Path, key: Secret) -> None:
    script = 'echo "{\\"apiKey\\": \\"$ODD_KEY\\"}"; exec sleep 1000'
    transport = write_command(directory, SHELL + script).transport(colour, ENDPOINT, ODD_KEY=key.reveal())
    favcrm = colours.provisioner(colour, transport=transport, retry=ONCE, timeout=1.0)
    assert (await favcrm.confirm("signup_req_1", CODE)).api_key == key


ECHO = 'echo "Error: bad $* $FAVCRM_API_KEY" >&2; exit '


@pytest.mark.parametrize("status", ["1", "2"])
@pytest.mark.parametrize(
    "arguments",
    [{"email": EMAIL, "organisationName": "Acme"}, {"token": "an-odd-token"}, {"code": CODE}],
    ids=["email", "token", "code"],
)
async def test_its_words_are_shown_without_secrets(
    status: str, arguments: dict[str, str], directory: Path, key: Secret
) -> None:
    odd = Secret(key.reveal().replace("fav_mcp_", "odd."))
    with pytest.raises(FavCRMError, match="It says") as raised:
        await ask("blocking", directory, ECHO + status, {"name": "any", "arguments": arguments}, key=odd)
    for value in (odd.reveal(), EMAIL, CODE, "an-odd-token"):
        assert value not in str(raised.value)
    assert (raised.value.__cause__, raised.value.__context__) == (None, None)


async def test_our_error_line_with_a_json_rpc_code(directory: Path) -> None:
    line = '{"error": {"type": "RefusedError", "code": -32602, "summary": "Wrong.", "request_id": "req_1"}}'
    response = await ask("blocking", directory, f"echo '{line}' >&2; exit 1")
    assert (response.error.code, response.error.message) == (-32602, "Wrong.")
    assert response.x_request_id == "req_1"


async def test_an_answer_that_our_command_could_not_read(directory: Path) -> None:
    line = '{"error": {"type": "UnexpectedAnswerError", "message": "Odd.", "request_id": "req_1"}}'
    response = await ask("blocking", directory, f"echo '{line}' >&2; exit 1")
    assert (response.defect, response.x_request_id) == ("lacks what it should have", "req_1")


async def test_our_error_lines_may_lack_everything(directory: Path) -> None:
    for line, status in (('{"error": {}}', None), ('{"error": {"type": "RateLimitError"}}', 429)):
        script = f"echo '{line}' >&2; exit 1"
        if status is None:
            with pytest.raises(OutcomeUnknownError):
                await ask("blocking", directory, script)
        else:
            assert (await ask("blocking", directory, script)).status == status


# How it ends

STARTED = 'exec 9>"$ALIVE"; echo started >&9; '
"""The beginning of a command that holds the other end of `Alive`."""


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(HANGS, id="it runs"),
        pytest.param(STARTED + "sleep 1000 & exit 0", id="something else holds its pipes"),
        pytest.param(STARTED + "exec sleep 1000 >&- 2>&-", id="it closed its pipes"),
    ],
)
async def test_the_time_is_over(colour: Colour, directory: Path, tmp_path: Path, script: str) -> None:
    with alive(tmp_path) as pipe:
        with pytest.raises(OutcomeUnknownError, match="did not answer within 1 seconds"):
            await ask(colour, directory, script, timeout=1.0, ALIVE=pipe.path)
        pipe.wait_for_start()
        pipe.wait_for_end()


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_cancelled_request_kills_it(directory: Path, tmp_path: Path) -> None:
    with alive(tmp_path) as pipe:
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: ask("asynchronous", directory, HANGS, ALIVE=pipe.path))
            await anyio.wait_readable(pipe.descriptor)
            group.cancel_scope.cancel()
        pipe.wait_for_start()
        pipe.wait_for_end()


def test_one_that_is_given_up_before_it_starts_is_killed(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, signalled, started = threading.Event(), BlockingSignal(), list[subprocess.Popen[bytes]]()
    command = write_command(directory, SHELL + "exec sleep 1000")

    def start() -> subprocess.Popen[bytes]:
        gate.wait()
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            [command.path], stdout=pipe, stderr=pipe, bufsize=0, start_new_session=True
        )
        started.append(process)
        return process

    child = _Child(start, signalled)
    run_sync(child.end(0.001))
    monkeypatch.setattr(cli_process, "START_SECONDS", 0.0)
    child.give_up()
    gate.set()
    assert run_sync(signalled.wait(PATIENCE))
    assert started[0].returncode == -signal.SIGKILL
    assert child.ran(0.001).status is None


INTERRUPTED = """
import asyncio, sys
from favcrm.transports.cli import AsyncCLITransport, CLITransport

way, binary, alive = sys.argv[1:]
kind = CLITransport if way == "blocking" else AsyncCLITransport
transport = kind(binary, endpoint="http://127.0.0.1:9/mcp", env={"ALIVE": alive})

async def ask():
    await transport.request("tools/list", {}, api_key=None, timeout=60.0)

try:
    if way == "blocking":
        transport.request("tools/list", {}, api_key=None, timeout=60.0)
    elif way == "asyncio":
        asyncio.run(ask())
    else:
        import trio
        trio.run(ask)
except KeyboardInterrupt as interrupt:
    assert type(interrupt) is KeyboardInterrupt
    print("interrupted")
"""


@pytest.mark.parametrize("chosen", ["blocking", "asyncio", "trio"])
def test_ctrl_c_kills_it(chosen: str, directory: Path, tmp_path: Path) -> None:
    command = write_command(directory, SHELL + HANGS)
    with alive(tmp_path) as pipe:
        arguments = [sys.executable, "-c", INTERRUPTED, chosen, str(command.path), pipe.path]
        # Unmeasured: an interrupt that comes while coverage works is lost in it now and then.
        env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
        with subprocess.Popen(arguments, env=env, stdout=subprocess.PIPE, text=True) as process:
            pipe.wait_for_start()
            process.send_signal(signal.SIGINT)
            pipe.wait_for_end()
            assert process.communicate()[0] == "interrupted\n"
    assert process.returncode == 0


# What cannot be run


async def test_a_command_that_is_not_there(colour: Colour) -> None:
    transport = Command(Path("no-such-command")).transport(colour, ENDPOINT)
    crm = colours.client(colour, transport=transport)
    with pytest.raises(NotSentError, match="was not found") as raised:
        await crm.list_tools()
    assert raised.value.permanent
    assert 'pip install "favcrm[cli]"' in raised.value.next_step
    with pytest.raises(NotSentError, match="was not found"):
        await colours.Facade(transport).version()


async def test_a_command_that_cannot_be_started(colour: Colour, directory: Path) -> None:
    command = write_command(directory, "#!/no/such/interpreter\n")
    with pytest.raises(NotSentError, match="cannot be started: No such file") as raised:
        await command.reach(colour, ENDPOINT).request("tools/list", {}, api_key=None, timeout=30.0)
    assert raised.value.permanent
    assert (raised.value.__cause__, raised.value.__context__) == (None, None)


async def test_no_place_for_its_directory(
    colour: Colour, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(NotSentError, match="cannot be started"):
        await ask(colour, directory, "exit 0")


async def test_a_command_is_found_by_its_name(directory: Path) -> None:
    write_command(directory, SHELL + "echo favcrm 9.9")
    path = f"{directory}{os.pathsep}{os.environ['PATH']}"
    assert await Command(Path("favcrm"), {"PATH": path}).reach("blocking").version() == "favcrm 9.9"


@pytest.mark.parametrize("script", ["exit 3", "exit 0", "exec sleep 1000"])
async def test_a_command_without_a_version(
    directory: Path, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("favcrm.transports.cli.VERSION_TIMEOUT", 1.0)
    command = write_command(directory, SHELL + script)
    with pytest.raises(NotSentError, match="does not tell its version"):
        await command.reach("blocking", ENDPOINT).version()


# What cannot be asked


@pytest.mark.parametrize(
    "params",
    [
        {"name": "any", "arguments": {"amount": float("nan")}},
        {"name": "any", "arguments": {"thing": object()}},
        {"name": "any\x00", "arguments": {}},
        {"name": "register_organisation_verify", "arguments": {"requestId": "\ud800", "code": CODE}},
        {"name": "any", "arguments": {"text": "x" * 3_000_000}},
    ],
    ids=["no number", "no JSON", "a null character", "half a character", "too long"],
)
async def test_what_a_command_line_cannot_carry(colour: Colour, directory: Path, params: Any) -> None:
    with pytest.raises(InvalidInputError) as raised:
        await ask(colour, directory, "exit 0", params)
    ((field, _),) = raised.value.problems
    assert field == "arguments"


async def test_a_key_that_no_environment_can_carry(colour: Colour, directory: Path, key: Secret) -> None:
    with pytest.raises(InvalidInputError, match="api_key"):
        await ask(colour, directory, "exit 0", key=Secret(f"{key.reveal()}\x00"))


async def test_a_variable_that_is_no_text(colour: Colour, directory: Path) -> None:
    with pytest.raises(InvalidInputError, match="env"):
        await ask(colour, directory, "exit 0", PORT=cast("str", 1))


@pytest.mark.parametrize("timeout", [math.inf, math.nan])
async def test_a_time_that_is_no_time(colour: Colour, directory: Path, timeout: float) -> None:
    with pytest.raises(InvalidInputError, match="timeout"):
        await ask(colour, directory, "exit 0", timeout=timeout)


async def test_a_very_long_time(colour: Colour, directory: Path) -> None:
    response = await ask(colour, directory, "echo 7.5", timeout=1e10)
    assert response.result["structuredContent"]["data"] == 7.5


async def test_another_method(directory: Path) -> None:
    with pytest.raises(NotSentError, match="has nothing for resources/list") as raised:
        await ask("blocking", directory, "exit 0", {}, method="resources/list")
    assert raised.value.permanent


# What is typed


@pytest.mark.parametrize(
    ("params", "typed"),
    [
        (
            {"name": "create_team_member_invite", "arguments": {"email": EMAIL, "expiresInHours": 24}},
            f"--json team invite create --email={EMAIL} --expires-in-hours=24",
        ),
        (
            {"name": "create_team_member_invite", "arguments": {"email": EMAIL, "modules": ["a"]}},
            '--json tool call -- create_team_member_invite {"email":"you@example.com","modules":["a"]}',
        ),
        (
            {"name": "create_team_member_invite", "arguments": {"email": EMAIL, "role": None}},
            '--json tool call -- create_team_member_invite {"email":"you@example.com","role":null}',
        ),
        (
            {"name": "accept_team_invite_verify", "arguments": {"token": "-t", "code": CODE, "name": "A B"}},
            f"--json team invite accept-verify --token=-t --code={CODE} --name=A B --no-save",
        ),
        (VERIFY, f"--json signup verify --request-id=signup_req_1 --code={CODE} --no-save"),
        ({"name": "list_services"}, "--json tool call -- list_services {}"),
        (
            {"name": "any", "arguments": {"text": "é\x00"}},
            '--json tool call -- any {"text":"\\u00e9\\u0000"}',
        ),
    ],
)
async def test_what_is_typed(params: Any, typed: str, directory: Path, tmp_path: Path) -> None:
    noted = tmp_path / "typed"
    await ask("blocking", directory, 'printf "%s" "$*" >"$NOTED"', params, NOTED=str(noted))
    assert noted.read_text() == typed
