"""The key in the config file: where it is, whose it is, and how a key from the portal gets there."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from favcrm import FavCRMClient, FavCRMError, RetryPolicy, Secret
from favcrm.cli.keyboard import read_hidden
from favcrm.cli.output import Found
from favcrm.errors import PlanLimitError, StoreError
from favcrm.settings import ENDPOINT_VARIABLES, KEY_VARIABLES, Settings, check_key, config_path
from favcrm.stores import ConfigFileStore

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from favcrm.cli.options import Given
    from favcrm.typing import JSON

__all__ = [
    "KEY_NAME",
    "config_file",
    "elsewhere",
    "key_in_file",
    "key_of_another_endpoint",
    "read_key",
    "save_key",
]

KEY_NAME = "workspace"
"""The name under which a key is saved that was made in the portal."""


def key_in_file() -> Secret | None:
    """Return the key in the config file, whatever its workspace and whatever the environment says."""
    return _settings_of_file().api_key


def key_of_another_endpoint(given: Given) -> str:
    """Say for which address the key in the config file is, where it was not sent because of that."""
    here = Settings.load(endpoint=given.url, api_key=given.api_key)
    file = _settings_of_file()
    if here.api_key is not None or file.api_key is None:
        return ""
    return f"the key in {config_file()} is for {file.endpoint}, so it was not sent to {here.endpoint}"


def _settings_of_file() -> Settings:
    return Settings.load(environment=environment_without({*KEY_VARIABLES, *ENDPOINT_VARIABLES}))


def config_file() -> Path:
    """Return the path of the config file.

    Raises:
        StoreError: This machine has no place for the file.
    """
    path = config_path(os.environ, sys.platform)
    if path is None:
        raise StoreError(
            "There is no place for a config file, because this machine names no home directory. Nothing was sent.",
            next_step="Set HOME, or give --no-save and --show-key where a code is confirmed: then the key is shown.",
        )
    return path


def elsewhere(given: Given) -> list[str]:
    """Say how the key in the config file comes to be used at this address, where it belongs to another one."""
    settings = Settings.load(endpoint=given.url, environment=environment_without(KEY_VARIABLES))
    return (
        []
        if settings.api_key
        else [f'To have it used here, add this to that file: url = "{settings.endpoint}"']
    )


def environment_without(names: Collection[str]) -> dict[str, str]:
    """Return the environment without some variables."""
    return {name: value for name, value in os.environ.items() if name not in names}


def read_key() -> Secret:
    """Return a key that a person types, or that comes from a pipe."""
    if key := read_hidden("Key: ").strip():
        return Secret(key)
    raise FavCRMError(
        "No key was given, so none was saved.",
        next_step='Run "favcrm login" in a terminal and type the key, or run "favcrm login KEY".',
    )


def save_key(given: Given, key: Secret, *, replace: bool) -> Found:
    """Save a key that the server takes; in place of another one only where the user asked for that."""
    # The key and the settings are checked before anything is sent or replaced.
    check_key(key)
    Settings.load(endpoint=given.url)
    path = config_file()
    store = ConfigFileStore(path)
    there = key_in_file()
    if there is not None and there != key and not replace:
        raise StoreError(
            f"Another key is in {path}. It was not replaced, and the new one was not saved.",
            next_step="Give --replace to replace it. The file with the old key is kept beside the new one.",
        )
    store.check()
    try_key(given, key)
    payload: dict[str, JSON] = {"apiKeySavedTo": str(path)}
    lines = [f"Saved in: {path}"]
    if replace:
        copy = store.replace(KEY_NAME, key)
        if copy is not None:
            payload["oldFileKeptAs"] = str(copy)
            lines.append(f"The file with the old key is kept: {copy}")
    elif there is None:
        store.put(KEY_NAME, key, {})
    return Found(payload, (*lines, *elsewhere(given)))


def try_key(given: Given, key: Secret) -> None:
    """Ask the server whether it takes a key.

    Raises:
        FavCRMError: The server does not take the key, or did not answer.
    """
    try:
        with FavCRMClient(given.url, api_key=key, retry=RetryPolicy.never()) as crm:
            crm.call_tool("list_my_companies", {})
    except PlanLimitError:
        # The key is good, because the server knows the plan of its workspace.
        return
    except FavCRMError as error:
        error.message = f"{error.message} The key was not saved."
        raise
