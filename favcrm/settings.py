"""Where the endpoint, the key and the timeout come from: arguments, the environment, the vendor's config file.

Everything is read when an object is made, never at import.
"""

from __future__ import annotations

import math
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from favcrm.endpoint import Endpoint, same_origin
from favcrm.errors import InvalidInputError, Problem
from favcrm.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Settings"]

DEFAULT_ENDPOINT = "https://api.favcrm.io/mcp"
DEFAULT_TIMEOUT = 30.0
MILLISECONDS = 1000
VISIBLE = re.compile("[!-~]+")

ENDPOINT_VARIABLES = {"FAVCRM_MCP_URL": "", "FAVCRM_MCP_ENDPOINT": "", "FAVCRM_API_BASE": "/mcp"}
"""Each variable that may hold the endpoint, and what is appended to it; the first that is set counts."""

KEY_VARIABLES = ("FAVCRM_API_KEY", "FAVCRM_MCP_TOKEN")


@frozen(kw_only=True, eq=False)
class Settings:
    """What a client works with.

    Attributes:
        endpoint: The address of the tools.
        api_key: The key, or None.
        timeout: Seconds that one attempt may take.
        organisation_id: The workspace's organisation, or None.
        diagnosis_interval: Seconds between two diagnoses, or None.
    """

    endpoint: str
    api_key: Secret | None
    timeout: float
    organisation_id: str | None
    diagnosis_interval: float | None

    @classmethod
    def load(
        cls,
        *,
        endpoint: str | None = None,
        api_key: str | Secret | None = None,
        timeout: float | None = None,
        environment: Mapping[str, str] | None = None,
        key_from_file: bool = True,
    ) -> Settings:
        """Read the settings: an argument counts before the environment, that before the config file.

        Args:
            endpoint: The address of the tools.
            api_key: The key.
            timeout: Seconds that one attempt may take.
            environment: The environment's variables; those of this process where it is None.
            key_from_file: Whether the key of the config file may be taken: not where calls go elsewhere.

        Raises:
            InvalidInputError: With every bad value, each by the name of its argument, variable or file.

        Example:
            >>> Settings.load(environment={"FAVCRM_TIMEOUT_MS": "5000"}).timeout
            5.0
        """
        variables = os.environ if environment is None else environment
        problems: list[Problem] = []
        file = _read_config(config_path(variables, sys.platform), problems)
        found_endpoint = _endpoint(endpoint, variables, file, problems)
        settings = cls(
            endpoint=found_endpoint,
            api_key=_key(api_key, variables, file, found_endpoint if key_from_file else ""),
            timeout=_timeout(timeout, variables, problems),
            organisation_id=variables.get("FAVCRM_ORG_ID") or None,
            diagnosis_interval=_milliseconds("FAVCRM_DIAG_INTERVAL", variables, problems),
        )
        # No frame that an error passes through holds a key, or anything else of the environment.
        del api_key, environment, variables, file
        if problems:
            raise InvalidInputError(problems)
        return settings


def as_secret(key: str | Secret) -> Secret:
    """Return a key as a secret."""
    return key if isinstance(key, Secret) else Secret(key.strip())


def check_key(key: Secret) -> None:
    """Refuse what is no key and can be sent in no header.

    Raises:
        InvalidInputError: It is empty, or holds characters that no key has.
    """
    # In no local variable, which would be seen in the traceback.
    if not VISIBLE.fullmatch(key.reveal()):
        raise InvalidInputError([Problem("api_key", "is empty, or holds characters that no key has")])


def _endpoint(
    argument: str | None, variables: Mapping[str, str], file: Mapping[str, str], problems: list[Problem]
) -> str:
    sources = {"endpoint": argument}
    sources |= {
        name: f"{variables[name].rstrip('/')}{suffix}" if suffix else variables[name]
        for name, suffix in ENDPOINT_VARIABLES.items()
        if variables.get(name)
    }
    sources |= {"url in the config file": file.get("url"), "default": DEFAULT_ENDPOINT}
    name, value = next((name, value) for name, value in sources.items() if value)
    try:
        return Endpoint.parse(value).url
    except ValueError as error:
        problems.append(Problem(name, str(error)))
        return DEFAULT_ENDPOINT


def _key(
    argument: str | Secret | None, variables: Mapping[str, str], file: Mapping[str, str], endpoint: str
) -> Secret | None:
    if argument is not None:
        return as_secret(argument)
    for name in KEY_VARIABLES:
        if value := variables.get(name):
            return as_secret(value)
    # The file's key belongs to the file's endpoint: an endpoint from elsewhere does not get it.
    if (stored := file.get("api_key")) and same_origin(endpoint, file.get("url") or DEFAULT_ENDPOINT):
        return as_secret(stored)
    return None


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
    """Return the texts in the config file; nothing where there is no file."""
    if path is None:
        return {}
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        problems.append(Problem(str(path), "cannot be read"))
        return {}
    import tomllib

    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError):
        problems.append(Problem(str(path), "is not TOML"))
        return {}
    return {name: value for name, value in values.items() if isinstance(value, str)}
