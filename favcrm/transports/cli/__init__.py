"""Reaching the tools through a command, ``favcrm``: the vendor's or this project's, one run for each request.

What is typed is in `favcrm.transports.cli.command`, how it is run in `favcrm.transports.cli.process`, and how an
answer is read in `favcrm.transports.cli.answer`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from favcrm._backends import run_sync
from favcrm._text import clean
from favcrm.errors import FavCRMError, NotSentError
from favcrm.models import Progress
from favcrm.secret import Secret
from favcrm.transport import Response
from favcrm.transports.cli.answer import Ran, read_answer
from favcrm.transports.cli.command import INSTALL, Program, command_line
from favcrm.transports.cli.process import run
from favcrm.transports.waiting import Asynchronous, Blocking
from favcrm.typing import JSON

__all__ = ["AsyncCLITransport", "CLITransport"]

VERSION_TIMEOUT = 10.0


class CLITransport:
    """Reaches the tools by running a command for each request, blocking.

    The vendor's ``favcrm`` and this project's both serve. The command gets the key in its environment, never in its
    arguments, and finds no other: not in this process's environment, and not in its config file, which it does not
    write either. One-time codes, invitation tokens and emails do stand in its arguments while it runs, where other
    users of this machine may see them, since the command takes them in no other way.

    The command tells less than a server: of an answer only the data, without summary, headers and progress. A CRM
    tool that answers with words and no data is taken to have refused.

    Args:
        binary: The command's name, looked up in ``PATH``, or its path.
        endpoint: The address of the tools. By default from the environment, then from the config file, then
            FavCRM's own.
        env: More variables for the command's environment. It has those for paths, language, proxies and
            certificates from this process, and no others.

    Raises:
        InvalidInputError: The endpoint, a variable of the environment or the config file is wrong.

    Example:
        >>> transport = CLITransport("no-such-command")
        >>> FavCRMClient(transport=transport).list_tools()
        Traceback (most recent call last):
            ...
        favcrm.errors.NotSentError: The command 'no-such-command' was not found. Nothing was sent. Install ...
    """

    def __init__(
        self,
        binary: str | os.PathLike[str] = "favcrm",
        *,
        endpoint: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._program = Program(binary, endpoint, env)

    def request(
        self,
        method: str,
        params: Mapping[str, JSON],
        *,
        api_key: Secret | None,
        timeout: float,
        on_progress: Callable[[Progress], None] | None = None,  # noqa: ARG002  # the command reports none
    ) -> Response:
        """Run the command for one request and return what came back; see `favcrm.transports.Transport`.

        Args:
            method: ``tools/call`` or ``tools/list``.
            params: The parameters of that method.
            api_key: The key to present, or None to present none.
            timeout: Seconds that the command may take. It is killed then, with what it started.
            on_progress: Never called.

        Raises:
            InvalidInputError: The arguments hold something that a command line cannot carry.
            NotSentError: The command was not found, cannot run, or sent nothing.
            OutcomeUnknownError: The request may have been carried out.
            InputRequiredError: The server asks for input, which cannot be given through a command.
        """
        line = command_line(method, params)
        return _answer(
            read_answer(
                run_sync(run(Blocking(), self._program, line, api_key, timeout)), method, params, api_key
            )
        )

    def version(self) -> str:
        """Return what the command says of its version.

        Returns:
            Its words, such as ``favcrm 0.1.4``.

        Raises:
            NotSentError: It was not found, cannot run, or does not tell its version.
        """
        return _version(run_sync(run(Blocking(), self._program, ["--version"], None, VERSION_TIMEOUT)))

    def close(self) -> None:
        """Do nothing: nothing is held open."""


class AsyncCLITransport:
    """Reaches the tools by running a command for each request, asynchronous: `CLITransport` with ``aclose``.

    Args:
        binary: The command's name, looked up in ``PATH``, or its path.
        endpoint: The address of the tools. By default from the environment, then from the config file, then
            FavCRM's own.
        env: More variables for the command's environment.

    Raises:
        InvalidInputError: The endpoint, a variable of the environment or the config file is wrong.
    """

    def __init__(
        self,
        binary: str | os.PathLike[str] = "favcrm",
        *,
        endpoint: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._program = Program(binary, endpoint, env)

    async def request(
        self,
        method: str,
        params: Mapping[str, JSON],
        *,
        api_key: Secret | None,
        timeout: float,
        on_progress: Callable[[Progress], None] | None = None,  # noqa: ARG002  # the command reports none
    ) -> Response:
        """Run the command for one request and return what came back; see `CLITransport.request`."""
        line = command_line(method, params)
        return _answer(
            read_answer(
                await run(Asynchronous(), self._program, line, api_key, timeout), method, params, api_key
            )
        )

    async def version(self) -> str:
        """Return what the command says of its version; see `CLITransport.version`."""
        return _version(await run(Asynchronous(), self._program, ["--version"], None, VERSION_TIMEOUT))

    async def aclose(self) -> None:
        """Do nothing: nothing is held open."""


def _answer(answer: Response | FavCRMError) -> Response:
    """Return an answer, or raise what stands in its place, from a frame that knows nothing of the run."""
    if isinstance(answer, FavCRMError):
        raise answer
    return answer


def _version(ran: Ran) -> str:
    told = clean(ran.output.decode("utf-8", "replace"))
    if ran.status == 0 and told:
        return told
    raise NotSentError("The command does not tell its version.", permanent=True, next_step=INSTALL)
