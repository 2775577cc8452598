"""A server over standard input and output whose tools do what a test tells them. Standard library only.

Its one argument is how it behaves; see `Behaviour`. Every message that it gets is kept for the tool `received`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

BEHAVIOUR: dict[str, Any] = json.loads(sys.argv[1])
VERSIONS = ["2026-07-28"] if BEHAVIOUR.get("era") == "modern" else []
received: list[Any] = []
held: list[Any] = []
# Bytes are written as they are, so that a test sees what becomes of line ends.
output = sys.stdout.buffer


def write(line: str) -> None:
    output.write(line.encode("utf-8", "surrogatepass") + b"\n")
    output.flush()


def send(**message: object) -> None:
    write(json.dumps({"jsonrpc": "2.0", **message}))


def result(request: Any, value: object) -> None:
    send(id=request["id"], result=value)


def error(request: Any, code: int, words: str = "no", data: object = None) -> None:
    send(id=request["id"], error={"code": code, "message": words, "data": data})


def discover(request: Any) -> None:
    if BEHAVIOUR.get("exits_on_discover"):
        sys.exit(7)
    if BEHAVIOUR.get("silent_on_discover"):
        return
    if "gate" in BEHAVIOUR:
        Path(BEHAVIOUR["gate"]).read_bytes()
    if BEHAVIOUR.get("era") == "modern":
        result(request, {"supportedVersions": VERSIONS, "capabilities": {}, "serverInfo": {}})
    else:
        error(request, -32601)


def initialize(request: Any) -> None:
    if BEHAVIOUR.get("silent_on_initialize"):
        return
    if BEHAVIOUR.get("pings_before_initialized"):
        send(id="early", method="ping")
    if BEHAVIOUR.get("era") == "session":
        version = BEHAVIOUR.get("version", "2025-11-25")
        result(request, {"protocolVersion": version, "capabilities": {}, "serverInfo": {}})
    else:
        error(request, BEHAVIOUR.get("initialize_error", -32601))


def call(request: Any) -> None:
    """Do what a tool does; one that returns nothing has answered by itself, or does not."""
    tool, arguments = request["params"].get("name"), request["params"].get("arguments", {})
    value = TOOLS[tool](request, arguments) if tool else {"tools": []}
    if value is not None:
        result(request, {"structuredContent": {"data": value, "summary": "", "renderType": "x"}})


def raw(request: Any, arguments: Any) -> None:
    for line in arguments["lines"]:
        write(line.replace("ID", str(request["id"])))


def hold(request: Any, arguments: Any) -> None:
    held.append(request)


def release(request: Any, arguments: Any) -> object:
    for other in held:
        result(other, {"released": other["params"]["arguments"]})
    held.clear()
    return "done"


def die(request: Any, arguments: Any) -> None:
    sys.stderr.write(BEHAVIOUR.get("last_words", ""))
    sys.stderr.flush()
    if "signal" in arguments:
        os.kill(os.getpid(), arguments["signal"])
    os._exit(arguments.get("status", 3))


def answer_and_die(request: Any, arguments: Any) -> None:
    """Give the reader much to do before it comes to the answer, all of it in the pipe at once."""
    answer = json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": "said"})
    output.write(b"x\n" * 5_000 + answer.encode() + b"\n")
    output.flush()
    os._exit(0)


def huge(request: Any, arguments: Any) -> None:
    write("x" * arguments["bytes"])


def grandchild(request: Any, arguments: Any) -> object:
    """Start a process that holds the pipes of this one until a gate opens."""
    code = f"open({arguments['gate']!r}).read()"
    alone = not arguments.get("stays_in_group")
    return subprocess.Popen([sys.executable, "-c", code], start_new_session=alone).pid


def interrupt(request: Any, arguments: Any) -> None:
    os.kill(os.getppid(), signal.SIGINT)


def refuse_version(request: Any, arguments: Any) -> object:
    """Refuse as many calls as are wanted, once they are all there."""
    held.append(request)
    wanted = arguments["times"]
    if len(held) > wanted:
        return "done"
    for other in held if len(held) == wanted else []:
        error(other, -32022, data={"supported": VERSIONS})
    return None


def ask(request: Any, arguments: Any) -> None:
    """Give a state, then ask for input, then say what was given."""
    params = request["params"]
    if "inputResponses" in params:
        result(request, {"resultType": "complete", "structuredContent": params})
    elif "requestState" not in params:
        result(request, {"resultType": "input_required", "requestState": "one"})
    else:
        asked = {"name": {"method": "elicitation/create", "params": {"message": "Who?"}}}
        result(request, {"resultType": "input_required", "requestState": "two", "inputRequests": asked})


def ask_again(request: Any, arguments: Any) -> None:
    result(request, {"resultType": "input_required", "requestState": "again"})


def ask_and_go(request: Any, arguments: Any) -> None:
    result(request, {"resultType": "input_required", "requestState": "gone"})
    os._exit(0)


def close_input(request: Any, arguments: Any) -> None:
    os.close(0)
    result(request, {"structuredContent": {"data": "closed", "summary": "", "renderType": "x"}})
    # Until it is told to end: one that has ended would be started anew.
    signal.pause()


def close_output(request: Any, arguments: Any) -> None:
    sys.stderr.write("closing\n")
    sys.stderr.flush()
    os.close(1)
    signal.pause()


def stop_reading(request: Any, arguments: Any) -> None:
    result(request, {"structuredContent": {"data": "deaf", "summary": "", "renderType": "x"}})
    signal.pause()


def pause(request: Any, arguments: Any) -> None:
    result(request, {"structuredContent": {"data": "paused", "summary": "", "renderType": "x"}})
    Path(arguments["gate"]).read_bytes()


def complain(request: Any, arguments: Any) -> object:
    sys.stderr.write("noise\n" * arguments["lines"])
    sys.stderr.flush()
    return "done"


TOOLS: dict[str, Any] = {
    "raw": raw,
    "hold": hold,
    "release": release,
    "die": die,
    "answer_and_die": answer_and_die,
    "huge": huge,
    "ask": ask,
    "ask_again": ask_again,
    "ask_and_go": ask_and_go,
    "close_input": close_input,
    "close_output": close_output,
    "stop_reading": stop_reading,
    "complain": complain,
    "grandchild": grandchild,
    "interrupt": interrupt,
    "refuse_version": refuse_version,
    "pause": pause,
    "echo": lambda request, arguments: arguments,
    "environment": lambda request, arguments: dict(os.environ),
    "process": lambda request, arguments: {"pid": os.getpid(), "group": os.getpgid(0)},
    "received": lambda request, arguments: received,
}
METHODS = {"server/discover": discover, "initialize": initialize, "tools/call": call, "tools/list": call}


def serve() -> None:
    # Bytes again, as U+2028 ends no line.
    while line := sys.stdin.buffer.readline():
        message = json.loads(line)
        received.append(message)
        if "method" in message and "id" in message:
            METHODS[message["method"]](message)


def main() -> None:
    if "started" in BEHAVIOUR:
        with Path(BEHAVIOUR["started"]).open("a") as starts:
            starts.write(f"{os.getpid()}\n")
    if BEHAVIOUR.get("ignores_terminate"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    serve()
    if "ended" in BEHAVIOUR:
        Path(BEHAVIOUR["ended"]).touch()
    if BEHAVIOUR.get("stays"):
        while True:
            signal.pause()


if __name__ == "__main__":
    main()
