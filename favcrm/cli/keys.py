"""Keys that commands receive, save and show."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from favcrm import FavCRMClient, FavCRMError, RetryPolicy
from favcrm.cli.output import Found
from favcrm.errors import PlanLimitError, StoreError
from favcrm.settings import ENDPOINT_VARIABLES, KEY_VARIABLES, Settings, check_key, config_path
from favcrm.stores.config_file import ConfigFileStore

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from favcrm.cli.options import Given
    from favcrm.models import Workspace
    from favcrm.secret import Secret
    from favcrm.typing import JSON

__all__ = ["key_file", "received", "refuse_another_key", "save_key"]

KEY_NAME = "workspace"
"""The name under which a key is saved that was made in the portal."""


def key_file(*, save: bool) -> tuple[ConfigFileStore | None, Path | None]:
    """Return where a key is saved, and the path of that; nothing where it is not."""
    path = config_path(os.environ, sys.platform)
    return (ConfigFileStore(path), path) if save else (None, None)


def key_in_file() -> Secret | None:
    """Return the key in the config file, whatever its workspace and whatever the environment says."""
    return Settings.load(environment=environment_without({*KEY_VARIABLES, *ENDPOINT_VARIABLES})).api_key


def refuse_another_key(path: Path | None) -> None:
    """Refuse to use a code whose key would find no room in the config file, if it is to be saved there."""
    if path is not None and key_in_file() is not None:
        raise StoreError(
            # It may be the key of this very sign-up, where the command is run twice.
            f"A key is in {path} already. The code was not used.",
            next_step='See with "favcrm whoami" what that key opens. To have another key beside it, give --no-save '
            "and --show-key: then the new one is only shown.",
        )


def received(workspace: Workspace, path: Path | None, *, show_key: bool, given: Given) -> Found:
    """Return a workspace. Its key is masked unless it was asked for, or nobody else has it."""
    key = workspace.api_key.reveal() if show_key or path is None else str(workspace.api_key)
    names = {"organisationId": workspace.organisation_id, "companyId": workspace.company_id}
    names |= {"userId": workspace.user_id, "apiKey": key, "loginUrl": workspace.login_url}
    payload: dict[str, JSON] = {name: value for name, value in names.items() if value is not None}
    payload |= {"nextSteps": list(workspace.next_steps), **workspace.extra}
    lines = [f"Organisation: {workspace.organisation_id}", f"Key: {key}"]
    if path is not None:
        payload["apiKeySavedTo"] = str(path)
        lines.append(f"Saved in: {path}")
        lines += elsewhere(given)
    return Found(payload, (*lines, *workspace.next_steps))


def elsewhere(given: Given) -> list[str]:
    """Say it where the key in the config file is not the key of this address: that goes where the file says."""
    settings = Settings.load(endpoint=given.url, environment=environment_without(KEY_VARIABLES))
    return (
        []
        if settings.api_key
        else [f'To have it used here, add this to that file: url = "{settings.endpoint}"']
    )


def environment_without(names: Collection[str]) -> dict[str, str]:
    """Return the environment without some variables."""
    return {name: value for name, value in os.environ.items() if name not in names}


def save_key(given: Given, key: Secret, *, replace: bool) -> Found:
    """Save a key that the server takes; in place of another one only where that was asked for."""
    # Looked at before anything is sent or replaced: a key that can be sent, and settings that can be read.
    check_key(key)
    Settings.load(endpoint=given.url)
    store, path = key_file(save=True)
    assert store is not None
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
    """Ask the server something with a key.

    Raises:
        FavCRMError: The server does not take the key, or nobody knows whether it does.
    """
    try:
        with FavCRMClient(given.url, api_key=key, retry=RetryPolicy.never()) as crm:
            crm.call_tool("list_my_companies", {})
    except PlanLimitError:
        # The server knows which plan the key belongs to, so the key is good.
        return
    except FavCRMError as error:
        error.message = f"{error.message} The key was not saved."
        raise
