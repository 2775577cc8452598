"""Where the endpoint, the key and the timeout come from: arguments, the environment, the vendor's config file.

Everything is read when an object is made, never at import.
"""

from __future__ import annotations

import logging
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
from favcrm._patterns import lazy_pattern
from favcrm._text_files import UnreadableError, text_in, toml_in
from favcrm.endpoint import PROFILES, Endpoint, same_origin
from favcrm.errors import InvalidInputError, Problem
from favcrm.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from favcrm.typing import Profile

__all__ = ["Settings"]

DEFAULT_ENDPOINT = "https://api.favcrm.io/mcp"
DEFAULT_TIMEOUT = 30.0
MILLISECONDS = 1000
VISIBLE = lazy_pattern("[!-~]+")

ENDPOINT_VARIABLES = {"FAVCRM_MCP_URL": "", "FAVCRM_MCP_ENDPOINT": "", "FAVCRM_API_BASE": "/mcp"}
"""Each variable that may hold the endpoint, and what is appended to it; the first that is set counts."""

PROFILE_VARIABLE = "FAVCRM_MCP_PROFILE"
KEY_VARIABLES = ("FAVCRM_API_KEY", "FAVCRM_MCP_TOKEN")

PLACEHOLDER = lazy_pattern(
    r"""
      [$#%]? \{ .* \} [#]?                   # ${KEY}, ${env:KEY}, ${input:key}, {{KEY}}, {env:KEY}, #{KEY}#
    | \$\( .* \)                             # $(KEY)
    | \$ (env:)? \w+                         # $KEY, $env:KEY
    | % \w+ %                                # %KEY%
    | < .* >                                 # <your key>
    | \[ .* \]                               # [your key]
    | \# .*                                  # a comment that a reader of .env files takes for the value
    | (fav_mcp_)? [x.*_-]{3,}                # fav_mcp_xxxxxxxx, fav_mcp_...
    | fav_mcp_ \u2026?                       # the beginning alone
    | (fav_mcp_)? (your|insert|paste|enter) [ _-] .* (key|token) .*
    | favcrm_(api_key|mcp_token)             # the variable's own name
    | change[_-]?me | replace[_-]?me
    | undefined | null | none
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
"""What stands where a value should be: hosts leave variables that are not set unexpanded, and people leave templates.

No key looks like one of these.
"""

BRACKETS = frozenset("{}<>")
"""No address has these; a placeholder inside of one does."""

NOT_FILLED_IN = "is a placeholder: nothing was put in its place"

logger: logging.Logger = logging.getLogger("favcrm")


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
    """

    endpoint: str
    api_key: Secret | None
    timeout: float
    organisation_id: str | None
    diagnosis_interval: float | None
    profile: Profile | None = None
    endpoint_source: str = ""
    key_source: str = ""

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
        sources = _Sources(os.environ if environment is None else environment)
        variables, problems = sources.variables, sources.problems
        found_endpoint, endpoint_source = _endpoint(endpoint, sources, use_file="endpoint" in from_file)
        key, key_source = _key(api_key, sources, found_endpoint, use_file="api_key" in from_file)
        settings = cls(
            endpoint=found_endpoint,
            api_key=key,
            timeout=_timeout(timeout, variables, problems),
            organisation_id=_value("FAVCRM_ORG_ID", variables),
            diagnosis_interval=_milliseconds("FAVCRM_DIAG_INTERVAL", variables, problems),
            profile=_profile(profile, variables, problems),
            endpoint_source=endpoint_source,
            key_source=key_source,
        )
        if problems:
            raise InvalidInputError(problems)
        return settings


def as_secret(key: str | Secret) -> Secret:
    """Return a key as a secret."""
    return key if isinstance(key, Secret) else Secret(key.strip())


def is_filled_in(text: str) -> bool:
    """Tell a value from a blank one and from a placeholder."""
    return bool(_bare(text)) and not _is_placeholder(text)


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
    return PLACEHOLDER.fullmatch(_bare(text)) is not None


def _bare(text: str) -> str:
    # Some readers of environment files take quotes for a part of the value.
    return text.strip().strip("'\"")


class _Sources:
    """What counts behind the arguments, and what is found wrong with it."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.variables = variables
        self.path = config_path(variables, sys.platform)
        self.problems: list[Problem] = []

    @cached_property
    def file(self) -> Mapping[str, str]:
        """The texts in the config file, read when one is needed, so that a broken file is in nobody's way before."""
        return _read_config(self.path, self.problems)


def _endpoint(argument: str | None, sources: _Sources, *, use_file: bool) -> tuple[str, str]:
    """Return the address, and where it comes from."""
    variables = sources.variables
    variable = next((name for name in ENDPOINT_VARIABLES if variables.get(name, "").strip()), None)
    suffix = ""
    if argument:
        field, source, value = "endpoint", "the argument endpoint", argument
    elif variable:
        field, source, value = variable, f"the variable {variable}", variables[variable]
        suffix = ENDPOINT_VARIABLES[variable]
    elif use_file and (url := sources.file.get("url")):
        field, source, value = f"url in {sources.path}", f"the file {sources.path}", url
    else:
        return DEFAULT_ENDPOINT, "the default"
    try:
        return _address(value, suffix), source
    except ValueError as error:
        sources.problems.append(Problem(field, str(error)))
        return DEFAULT_ENDPOINT, source


def _address(value: str, suffix: str) -> str:
    if _is_placeholder(value) or not BRACKETS.isdisjoint(value):
        raise ValueError(NOT_FILLED_IN)
    return Endpoint.parse(f"{value.rstrip('/')}{suffix}" if suffix else value).url


def _key(
    argument: str | Secret | None, sources: _Sources, endpoint: str, *, use_file: bool
) -> tuple[Secret | None, str]:
    """Return the key, and where it comes from."""
    if argument is not None:
        if _is_placeholder(as_secret(argument).reveal()):
            sources.problems.append(Problem("api_key", NOT_FILLED_IN))
        return as_secret(argument), "the argument api_key"
    for name in KEY_VARIABLES:
        if value := _value(name, sources.variables):
            return as_secret(value), f"the variable {name}"
    if not use_file or not (stored := sources.file.get("api_key")):
        return None, ""
    # The file's key belongs to the file's endpoint: an endpoint from elsewhere does not get it.
    if not same_origin(endpoint, sources.file.get("url") or DEFAULT_ENDPOINT):
        return None, ""
    if is_filled_in(stored):
        return as_secret(stored), f"the file {sources.path}"
    logger.warning("api_key in %s holds no value, so it is not used", sources.path)
    return None, ""


def _value(name: str, variables: Mapping[str, str]) -> str | None:
    """Return what is in a variable, or None where it is not set, blank or a placeholder."""
    if name not in variables or is_filled_in(variables[name]):
        return variables.get(name)
    # The value is not shown: what only looks like a placeholder may be secret.
    logger.warning("the variable %s is blank or was not filled in, so it is not used", name)
    return None


def _profile(
    argument: Profile | None, variables: Mapping[str, str], problems: list[Problem]
) -> Profile | None:
    """Return which tools are asked for, or None for the server's default."""
    field, value = (
        ("profile", argument) if argument else (PROFILE_VARIABLE, _value(PROFILE_VARIABLE, variables))
    )
    if value is not None and value not in PROFILES:
        problems.append(Problem(field, f"must be one of {', '.join(PROFILES)}"))
    return cast("Profile | None", value)


def _timeout(argument: float | None, variables: Mapping[str, str], problems: list[Problem]) -> float:
    if argument is None:
        return _milliseconds("FAVCRM_TIMEOUT_MS", variables, problems) or DEFAULT_TIMEOUT
    if not (argument > 0 and math.isfinite(argument)):
        problems.append(Problem("timeout", "must be a number of seconds above 0"))
    return argument


def _milliseconds(name: str, variables: Mapping[str, str], problems: list[Problem]) -> float | None:
    value = variables.get(name)
    if not value:
        return None
    try:
        milliseconds = float(value)
    except ValueError:
        milliseconds = 0.0
    if not (milliseconds > 0 and math.isfinite(milliseconds)):
        problems.append(Problem(name, "must be a number of milliseconds above 0"))
    return milliseconds / MILLISECONDS


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
