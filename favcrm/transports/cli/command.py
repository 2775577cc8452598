"""What is asked of the command, as data: words, flags and the environment of the process."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from favcrm.errors import InvalidInputError, NotSentError, Problem
from favcrm.settings import KEY_VARIABLES, Settings

if TYPE_CHECKING:
    from favcrm.secret import Secret
    from favcrm.typing import JSON

PLACES = {"PATH", "PATHEXT", "HOME", "USER", "LOGNAME", "USERPROFILE", "SYSTEMROOT", "COMSPEC"}
SPEECH = {"LANG", "LC_ALL", "LC_CTYPE", "TZ"}
NETWORK = {"SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"}
INHERITED = PLACES | {"TMPDIR", "TEMP", "TMP"} | SPEECH | NETWORK
"""What the process gets of this one's environment: what a program needs to start, and to reach the network."""

CONFIG_HOME = {"darwin": "HOME", "win32": "APPDATA"}.get(sys.platform, "XDG_CONFIG_HOME")
"""The variable by which the command finds its config file."""

INSTALL = (
    'Install the command, with pip install "favcrm[cli]" or the vendor\'s own way for its Rust command, '
    "or name its path as binary=."
)


@frozen
class Command:
    """A command that stands for a tool: its words, and the flag of each argument.

    Attributes:
        words: What is typed after the command's name.
        flags: The flag of each argument that the command knows.
        brings_key: Whether the answer has a key, which the command would save.
    """

    words: tuple[str, ...]
    flags: Mapping[str, str]
    brings_key: bool = False

    def line(self, arguments: Mapping[str, JSON]) -> list[str] | None:
        """Return the words and flags, or None where there is no flag for something."""
        values = {self.flags.get(name): _written(value) for name, value in arguments.items()}
        if None in values or None in values.values():
            return None
        # In one word, so that a value that begins with a hyphen is no flag.
        flags = [f"{flag}={value}" for flag, value in values.items()]
        return [*self.words, *flags, *(["--no-save"] if self.brings_key else [])]


COMMANDS = {
    "register_organisation_request": Command(
        ("signup", "request"),
        {
            "email": "--email",
            "organisationName": "--organisation-name",
            "industry": "--industry",
            "country": "--country",
            "timezone": "--timezone",
        },
    ),
    "register_organisation_verify": Command(
        ("signup", "verify"), {"requestId": "--request-id", "code": "--code"}, brings_key=True
    ),
    "create_team_member_invite": Command(
        ("team", "invite", "create"),
        {
            "email": "--email",
            "name": "--name",
            "role": "--role",
            "expiresInHours": "--expires-in-hours",
        },
    ),
    "accept_team_invite_request": Command(("team", "invite", "accept-request"), {"token": "--token"}),
    "accept_team_invite_verify": Command(
        ("team", "invite", "accept-verify"),
        {"token": "--token", "code": "--code", "name": "--name"},
        brings_key=True,
    ),
}


def command_line(method: str, params: Mapping[str, JSON]) -> list[str]:
    """Return what to type after the command's name for one request.

    Raises:
        InvalidInputError: The arguments hold something that JSON or a command line cannot carry.
        NotSentError: There is no command for the method.
    """
    if method == "tools/list":
        return ["--json", "tool", "list"]
    if method != "tools/call":
        raise NotSentError(
            f"The command has nothing for {method}. Nothing was sent.",
            permanent=True,
            next_step="Use another transport for it.",
        )
    name, arguments = str(params["name"]), arguments_of(params)
    line = COMMANDS[name].line(arguments) if name in COMMANDS else None
    line = ["--json", *(line or ["tool", "call", "--", name, _as_json(arguments)])]
    if all(map(_can_be_typed, line)):
        return line
    raise InvalidInputError([Problem("arguments", "hold something that a command line cannot carry")])


def arguments_of(params: Mapping[str, JSON]) -> Mapping[str, JSON]:
    """Return the tool's arguments; none where there are none."""
    arguments = params.get("arguments")
    return arguments if isinstance(arguments, Mapping) else {}


def _written(value: JSON) -> str | None:
    """Return the value of a flag; None for what is no text and no whole number."""
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None


def _as_json(arguments: Mapping[str, JSON]) -> str:
    try:
        return json.dumps(arguments, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        problem = Problem("arguments", "hold something that JSON cannot carry")
    # Outside the except block: the encoder's error holds the arguments, and would stay as the context.
    raise InvalidInputError([problem])


def _can_be_typed(word: str) -> bool:
    try:
        return b"\x00" not in os.fsencode(word)
    except UnicodeEncodeError:
        return False


class Program:
    """The command on this machine, where it sends its requests, and what its environment holds.

    Args:
        binary: Its name or path.
        endpoint: The address of the tools.
        variables: More variables for its environment.

    Raises:
        InvalidInputError: The endpoint, a variable of the environment or the config file is wrong.
    """

    def __init__(
        self, binary: str | os.PathLike[str], endpoint: str | None, variables: Mapping[str, str] | None
    ) -> None:
        self.name: str = os.fspath(binary)
        self._endpoint = Settings.load(endpoint=endpoint).endpoint
        self._variables = dict(variables or {})

    def find(self) -> str:
        """Return the path of the command.

        Raises:
            NotSentError: It is not there, or cannot be run.
        """
        path = shutil.which(self.name, path=self._inherited().get("PATH"))
        if path is not None:
            return str(Path(path).absolute())
        raise NotSentError(
            f"The command {self.name!r} was not found. Nothing was sent.", permanent=True, next_step=INSTALL
        )

    def environment(self, api_key: Secret | None, config_home: str, timeout: float) -> dict[str, str]:
        """Return the environment of one run. The key is in it, so it is kept in no variable of a frame.

        Args:
            api_key: The only key that the command is to find.
            config_home: An empty directory, where it looks for its config file.
            timeout: Seconds that it may take.
        """
        kept = {name: value for name, value in self._inherited().items() if name not in KEY_VARIABLES}
        ours = {
            CONFIG_HOME: config_home,
            "FAVCRM_MCP_URL": self._endpoint,
            "FAVCRM_TIMEOUT_MS": str(math.ceil(timeout * 1000)),
        }
        return kept | ours | ({} if api_key is None else {KEY_VARIABLES[0]: api_key.reveal()})

    def _inherited(self) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if name.upper() in INHERITED} | (
            self._variables
        )
