"""Reaching the tools through a server that is a program on this machine, over its standard input and output."""

from __future__ import annotations

import os
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import cast, get_args

from favcrm._backends import run_sync
from favcrm._mcp.input_required import OnInput
from favcrm.errors import InvalidInputError, Problem
from favcrm.models import Progress
from favcrm.secret import Secret
from favcrm.transport import Response
from favcrm.transports.stdio.child import Launch
from favcrm.transports.stdio.supervisor import Supervisor
from favcrm.transports.waiting import Asynchronous, Blocking, Waiting
from favcrm.typing import JSON, Era

__all__ = ["AsyncStdioTransport", "StdioTransport"]

ERAS = set(get_args(Era)) - {"sse"}


class StdioTransport:
    """Reaches the tools of a server that it starts as a child process, blocking.

    The child is started by the first call and serves all that follow, from any thread. Its environment has a few
    variables of this process (on POSIX ``HOME``, ``LOGNAME``, ``PATH``, ``SHELL``, ``TERM`` and ``USER``), those in
    ``env``, and the key. A call with another key than the child has waits until no call is under way; then the
    child is ended and started with that key. A call without a key takes the child that is there. A child that has
    ended is started again by the next call.

    Args:
        command: The program, by name or path. It is looked up in ``PATH`` and never run by a shell.
        args: Its arguments.
        env: Variables for its environment.
        era: How the server is spoken to: ``bare``, ``session`` or ``modern``; by default that is found out.
        on_input: Given what a server of MCP 2026-07-28 asks for before it completes a call, by name; returns the
            answers by the same names. Without it such a call raises `InputRequiredError`.
        key_variable: The variable in which the child gets the key of a call; None to give it none.

    Raises:
        InvalidInputError: An argument cannot be used.

    Example:
        >>> from contextlib import closing
        >>> from favcrm import FavCRMProvisioner
        >>> with closing(StdioTransport("no-such-server")) as transport:
        ...     FavCRMProvisioner(transport=transport).diagnose().endpoint_reachable
        False
    """

    def __init__(
        self,
        command: str | os.PathLike[str],
        args: Sequence[str | os.PathLike[str]] = (),
        *,
        env: Mapping[str, str] | None = None,
        era: Era | None = None,
        on_input: Callable[[Mapping[str, JSON]], Mapping[str, JSON]] | None = None,
        key_variable: str | None = "FAVCRM_API_KEY",
    ) -> None:
        self._supervisor = _supervise(_launch(command, args, env, key_variable), era, on_input, Blocking())
        _end_with(self, self._supervisor)

    def request(
        self,
        method: str,
        params: Mapping[str, JSON],
        *,
        api_key: Secret | None,
        timeout: float,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Response:
        """Send one request and return what came back; see `favcrm.transports.Transport`.

        Raises:
            InputRequiredError: The server asks for input, and there is no ``on_input``.
            InvalidInputError: The parameters or the key hold what cannot be sent.
            NotSentError: The child cannot be started, or certainly did not get the request.
            OutcomeUnknownError: The child got the request and did not answer in time, or ended.
        """
        flow = self._supervisor.request(
            method, params, api_key=api_key, timeout=timeout, on_progress=on_progress
        )
        return run_sync(flow)

    def close(self) -> None:
        """End the child: its input is closed; after 2 seconds it is asked to end, after 2 more it is made to.

        On Linux what it leaves running in its process group is then ended too.
        """
        run_sync(self._supervisor.close())


class AsyncStdioTransport:
    """Reaches the tools of a server that it starts, asynchronous: `StdioTransport` with ``aclose``.

    Args:
        command: As for `StdioTransport`.
        args: As for `StdioTransport`.
        env: As for `StdioTransport`.
        era: As for `StdioTransport`.
        on_input: As for `StdioTransport`; what it returns may be awaitable.
        key_variable: As for `StdioTransport`.

    Raises:
        InvalidInputError: An argument cannot be used.
    """

    def __init__(
        self,
        command: str | os.PathLike[str],
        args: Sequence[str | os.PathLike[str]] = (),
        *,
        env: Mapping[str, str] | None = None,
        era: Era | None = None,
        on_input: Callable[[Mapping[str, JSON]], Mapping[str, JSON] | Awaitable[Mapping[str, JSON]]]
        | None = None,
        key_variable: str | None = "FAVCRM_API_KEY",
    ) -> None:
        self._supervisor = _supervise(
            _launch(command, args, env, key_variable), era, on_input, Asynchronous()
        )
        _end_with(self, self._supervisor)

    async def request(
        self,
        method: str,
        params: Mapping[str, JSON],
        *,
        api_key: Secret | None,
        timeout: float,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Response:
        """Send one request and return what came back; see `StdioTransport.request`."""
        return await self._supervisor.request(
            method, params, api_key=api_key, timeout=timeout, on_progress=on_progress
        )

    async def aclose(self) -> None:
        """End the child; see `StdioTransport.close`."""
        await self._supervisor.close()


def _launch(
    command: str | os.PathLike[str],
    args: Sequence[str | os.PathLike[str]],
    env: Mapping[str, str] | None,
    key_variable: str | None,
) -> Launch:
    checks = (
        ("command", _is_word(command) and command != "", "must be a name or a path"),
        ("args", _are_words(args), "must be a list, with a text or a path for each argument"),
        ("env", env is None or _are_variables(env), "must have a text for each name"),
        ("key_variable", key_variable is None or _is_text(key_variable), "must be a name"),
    )
    problems = [Problem(name, message) for name, fine, message in checks if not fine]
    if problems:
        raise InvalidInputError(problems)
    words = [os.fspath(word) for word in (command, *args)]
    return Launch(words[0], tuple(words[1:]), dict(env or {}), key_variable)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_word(value: object) -> bool:
    return isinstance(value, str | os.PathLike)


def _are_words(values: object) -> bool:
    listed = isinstance(values, Sequence) and not isinstance(values, str)
    return listed and all(map(_is_word, cast("Sequence[object]", values)))


def _are_variables(values: object) -> bool:
    if not isinstance(values, Mapping):
        return False
    variables = cast("Mapping[object, object]", values)
    return all(map(_is_text, [*variables.keys(), *variables.values()]))


def _supervise(launch: Launch, era: Era | None, on_input: OnInput | None, waiting: Waiting) -> Supervisor:
    if era is not None and era not in ERAS:
        raise InvalidInputError([Problem("era", f"must be one of {', '.join(sorted(ERAS))}")])
    return Supervisor(launch, era or "auto", on_input, waiting)


def _end_with(transport: object, supervisor: Supervisor) -> None:
    """Let the child end with a transport that nobody closed; at the end of the interpreter all do."""
    weakref.finalize(transport, supervisor.leave).atexit = False
