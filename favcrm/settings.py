"""Where the endpoint, the key and the timeout come from: arguments, the environment, the vendor's config file.

Everything is read when an object is made, never at import.
"""

from __future__ import annotations

import math
import os
import re
import sys
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

from attrs import frozen

from favcrm._atomic import read
from favcrm._boundary import boundary
from favcrm._patterns import VISIBLE, is_number, lazy_pattern
from favcrm._text import is_text
from favcrm._text_files import UnreadableError, text_in, toml_in
from favcrm.endpoint import PROFILES, Endpoint, same_origin
from favcrm.errors import InvalidInputError, Problem
from favcrm.events import logger
from favcrm.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from favcrm.typing import Profile

__all__ = ["Settings"]

DEFAULT_ENDPOINT = "https://api.favcrm.io/mcp"
DEFAULT_TIMEOUT = 30.0
MILLISECONDS = 1000

ENDPOINT_VARIABLES = {"FAVCRM_MCP_URL": "", "FAVCRM_MCP_ENDPOINT": "", "FAVCRM_API_BASE": "/mcp"}
"""Each variable that may hold the endpoint, and what is appended to it; the first that is set counts."""

PROFILE_VARIABLE = "FAVCRM_MCP_PROFILE"
KEY_VARIABLES = ("FAVCRM_API_KEY", "FAVCRM_MCP_TOKEN")

PLACEHOLDER = lazy_pattern(
    r"""
      [$#%]? \{ .* \} [#]?                   # ${KEY}, ${env:KEY}, {{KEY}}, #{KEY}#
    | \$\( .* \) | \$ (env:)? \w+ | % \w+ %  # $(KEY), $KEY, $env:KEY, %KEY%
    | < .* > | \[ .* \]                     # <your key>, [your key]
    | \# .*                                  # a comment that a reader of .env files takes for the value
    | (fav_mcp_)? [x.*_-]{3,}                # fav_mcp_xxxxxxxx, fav_mcp_...
    | fav_mcp_ \u2026?                       # the beginning alone
    | (fav_mcp_)? (your|insert|paste|enter) [ _-] .* (key|token) .*
    | favcrm_(api_key|mcp_token)             # the variable's own name
    | (change|replace)[_-]?me | undefined | null | none
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
"""What stands where a key should be: hosts leave variables that are not set unexpanded, and people leave templates."""

BRACKETS = frozenset("{}<>")
"""A placeholder inside of an address has these; no address does."""

NOT_FILLED_IN = "is a placeholder: nothing was put in its place"


@frozen(kw_only=True, eq=False)
class Settings:
    """What a client works with.

    Attributes:
        endpoint: The address of the tools.
        api_key: The key, or None.
        timeout: Seconds that one attempt may take.
        organisation_id: The workspace's organisation, or None.
        diagnosis_interval: Seconds between two diagnoses, or None.
        profile: Which tools are asked for, or None for the server's default.
        endpoint_source: Where the address comes from, such as ``the variable FAVCRM_MCP_URL``.
        key_source: Where the key comes from, such as ``the file /home/you/.config/favcrm/config.toml``; empty where
            there is no key.
        missing_key: Where a key was looked for, or why the file's key is not used, in sentences; empty where there is
            a key.
    """

    endpoint: str
    api_key: Secret | None
    timeout: float
    organisation_id: str | None
    diagnosis_interval: float | None
    profile: Profile | None = None
    endpoint_source: str = ""
    key_source: str = ""
    missing_key: str = ""

    @classmethod
    @boundary
    def load(
        cls,
        *,
        endpoint: str | None = None,
        api_key: str | Secret | None = None,
        timeout: float | None = None,
        profile: Profile | None = None,
        environment: Mapping[str, str] | None = None,
        from_file: Collection[str] = ("endpoint", "api_key"),
    ) -> Settings:
        """Read the settings: an argument counts before the environment, that before the config file.

        Args:
            endpoint: The address of the tools.
            api_key: The key.
            timeout: Seconds that one attempt may take.
            profile: Which tools are asked for.
            environment: The environment's variables; those of this process where it is None.
            from_file: What may be taken from the config file. The file is read only if one of these is needed.

        Raises:
            InvalidInputError: With every bad value, each by the name of its argument, variable or file.

        Example:
            >>> Settings.load(environment={"FAVCRM_TIMEOUT_MS": "5000"}).timeout
            5.0
        """
        sources = _Sources(os.environ if environment is None else environment, from_file)
        address, endpoint_source = sources.endpoint(endpoint)
        key, key_source = sources.key(api_key, address)
        settings = cls(
            endpoint=address,
            api_key=key,
            timeout=sources.timeout(timeout),
            organisation_id=sources.value("FAVCRM_ORG_ID"),
            diagnosis_interval=sources.seconds("FAVCRM_DIAG_INTERVAL"),
            profile=sources.profile(profile),
            endpoint_source=endpoint_source,
            key_source=key_source,
            missing_key=sources.missing_key if key is None else "",
        )
        if sources.problems:
            raise InvalidInputError(sources.problems)
        return settings


def as_secret(key: str | Secret, field: str = "api_key") -> Secret:
    """Return a key as a secret.

    Args:
        key: The key.
        field: The name of the argument that it was given as.

    Raises:
        InvalidInputError: It is neither text nor a `Secret`.
    """
    if isinstance(key, Secret):
        return key
    if is_text(key):
        return Secret(key.strip())
    raise InvalidInputError([Problem(field, "must be text or a Secret")])


def is_filled_in(text: str) -> bool:
    """Tell a value from a blank one and from a placeholder."""
    return bool(_without_quotes(text)) and not _is_placeholder(text)


def check_key(key: Secret) -> None:
    """Refuse what is no key.

    Raises:
        InvalidInputError: It is empty or a placeholder, or holds characters that no key has.
    """
    if not VISIBLE.fullmatch(key.reveal()):
        raise InvalidInputError([Problem("api_key", "is empty, or holds characters that no key has")])
    if _is_placeholder(key.reveal()):
        raise InvalidInputError([Problem("api_key", NOT_FILLED_IN)])


def _is_placeholder(text: str) -> bool:
    return PLACEHOLDER.fullmatch(_without_quotes(text)) is not None


def _without_quotes(text: str) -> str:
    # Some readers of environment files take quotes for a part of the value.
    return text.strip().strip("'\"")


class _Sources:
    """What counts behind the arguments, and what is found wrong with any of it."""

    def __init__(self, variables: Mapping[str, str], from_file: Collection[str]) -> None:
        self.problems: list[Problem] = []
        self._variables = variables
        self._from_file = from_file
        self._path = config_path(variables, sys.platform)
        places = ["the argument api_key", *(f"the variable {name}" for name in KEY_VARIABLES)]
        if "api_key" in from_file and self._path is not None:
            places.append(f"the file {self._path}")
        self.missing_key = f"Give a key: it is looked for in {', '.join(places[:-1])} and {places[-1]}."

    @cached_property
    def _file(self) -> Mapping[str, str]:
        """The texts in the config file, read when one is needed, so that a broken file is in nobody's way before."""
        return _read_config(self._path, self.problems)

    def endpoint(self, argument: str | None) -> tuple[str, str]:
        """Return the address, and where it comes from."""
        variable = next((name for name in ENDPOINT_VARIABLES if self._variables.get(name, "").strip()), None)
        suffix = ""
        if argument:
            field, source, value = "endpoint", "the argument endpoint", argument
        elif variable:
            field, source, value = variable, f"the variable {variable}", self._variables[variable]
            suffix = ENDPOINT_VARIABLES[variable]
        elif "endpoint" in self._from_file and (url := self._file.get("url")):
            field, source, value = f"url in {self._path}", f"the file {self._path}", url
        else:
            return DEFAULT_ENDPOINT, "the default"
        try:
            return _address(value, suffix), source
        except ValueError as error:
            self.problems.append(Problem(field, str(error)))
            return DEFAULT_ENDPOINT, source

    def key(self, argument: str | Secret | None, endpoint: str) -> tuple[Secret | None, str]:
        """Return the key, and where it comes from."""
        if argument is not None:
            if _is_placeholder(as_secret(argument).reveal()):
                self.problems.append(Problem("api_key", NOT_FILLED_IN))
            return as_secret(argument), "the argument api_key"
        for name in KEY_VARIABLES:
            if value := self.value(name):
                return as_secret(value), f"the variable {name}"
        if "api_key" not in self._from_file or not (stored := self._file.get("api_key")):
            return None, ""
        # The file's key belongs to the file's endpoint: an endpoint from elsewhere does not get it.
        if not same_origin(endpoint, self._file.get("url") or DEFAULT_ENDPOINT):
            self.missing_key = (
                f"The key in the file {self._path} is for another address, so it was kept back. To send a key to this "
                f"address, give it as the argument api_key or in the variable {KEY_VARIABLES[0]}."
            )
            return None, ""
        if is_filled_in(stored):
            return as_secret(stored), f"the file {self._path}"
        logger.warning("api_key in %s holds no value, so it is not used", self._path)
        return None, ""

    def value(self, name: str) -> str | None:
        """Return what is in a variable, or None where the variable is not set, blank or a placeholder."""
        value = self._variables.get(name)
        if value is None or is_filled_in(value):
            return value
        # The value is not shown: what only looks like a placeholder may be secret.
        logger.warning("the variable %s is blank or was not filled in, so it is not used", name)
        return None

    def profile(self, argument: Profile | None) -> Profile | None:
        """Return which tools are asked for, or None for the server's default."""
        value = argument or self.value(PROFILE_VARIABLE)
        if value is not None and value not in PROFILES:
            field = "profile" if argument else PROFILE_VARIABLE
            self.problems.append(Problem(field, f"must be one of {', '.join(PROFILES)}"))
        return cast("Profile | None", value)

    def timeout(self, argument: float | None) -> float:
        """Return the seconds that one attempt may take."""
        if argument is None:
            return self.seconds("FAVCRM_TIMEOUT_MS") or DEFAULT_TIMEOUT
        if not is_number(argument, above=0):
            self.problems.append(Problem("timeout", "must be a number of seconds above 0"))
        return argument

    def seconds(self, name: str) -> float | None:
        """Return the seconds in a variable that holds milliseconds, or None where the variable is not set."""
        value = self._variables.get(name)
        if not value:
            return None
        try:
            milliseconds = float(value)
        except ValueError:
            milliseconds = 0.0
        if not (milliseconds > 0 and math.isfinite(milliseconds)):
            self.problems.append(Problem(name, "must be a number of milliseconds above 0"))
        return milliseconds / MILLISECONDS


def _address(value: str, suffix: str) -> str:
    if _is_placeholder(value) or not BRACKETS.isdisjoint(value):
        raise ValueError(NOT_FILLED_IN)
    return Endpoint.parse(f"{value.rstrip('/')}{suffix}" if suffix else value).url


def config_path(variables: Mapping[str, str], platform: str) -> Path | None:
    """Return where the vendor's CLI keeps its settings on this kind of machine, or None where that is not known."""
    home = variables.get("HOME")
    if platform == "win32":
        base = variables.get("APPDATA")
        return Path(base, "FavCRM", "favcrm", "config", "config.toml") if base else None
    if platform == "darwin":
        parts = ("Library", "Application Support", "io.FavCRM.favcrm", "config.toml")
        return Path(home, *parts) if home else None
    if base := variables.get("XDG_CONFIG_HOME"):
        return Path(base, "favcrm", "config.toml")
    return Path(home, ".config", "favcrm", "config.toml") if home else None


def _read_config(path: Path | None, problems: list[Problem]) -> Mapping[str, str]:
    """Return the texts in the config file; nothing where there is no file, or none that can be seen."""
    if path is None:
        return {}
    try:
        content = read(path)
        if not content:
            # Most have no such file, and need not load a parser to find nothing in it.
            return {}
        values = toml_in(text_in(content))
    except UnreadableError as error:
        problems.append(Problem(str(path), str(error)))
        return {}
    except OSError as error:
        # The home of a service may be a device, or a directory that it may not enter.
        if os.path.exists(path):  # noqa: PTH110  # a Path raises where it may not look
            problems.append(Problem(str(path), f"cannot be read: {error.strerror}"))
        return {}
    return {name: value for name, value in values.items() if isinstance(value, str)}
