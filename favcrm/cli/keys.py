"""The key that a command receives or needs: where it goes, how it is shown, that it is never lost."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from io import UnsupportedOperation
from typing import TYPE_CHECKING

from favcrm.cli import stop
from favcrm.cli.output import Found
from favcrm.errors import PORTAL, StoreError
from favcrm.events import EventKind
from favcrm.settings import ENDPOINT_VARIABLES, KEY_VARIABLES, Settings, config_path
from favcrm.stores import ConfigFileStore, EscrowStore, MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from favcrm import Event, FavCRMProvisioner, Ledger, Secret, Workspace
    from favcrm.cli.options import Given
    from favcrm.errors import AuthenticationError
    from favcrm.typing import JSON

__all__ = [
    "KEY_NAME",
    "config_file",
    "keep_aside",
    "key_in_file",
    "name_missing_key",
    "other_address",
    "receive",
    "show_workspace",
    "why_no_key",
]

KEY_NAME = "workspace"
"""The name under which a key is saved that was made in the portal."""


# The key in the config file


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


def key_in_file() -> Secret | None:
    """Return the key in the config file, whatever its workspace and whatever the environment says."""
    return _settings_of_file().api_key


def other_address(given: Given) -> tuple[str, ...]:
    """Say how the key in the config file comes to be used at this address, where it goes to another one."""
    here = Settings.load(endpoint=given.url, environment=_environment_without(KEY_VARIABLES))
    if here.api_key is not None:
        return ()
    return (
        f"Commands send this key to {_settings_of_file().endpoint} only.",
        f'To have the key sent to {here.endpoint}, write this line into {config_file()}: url = "{here.endpoint}"',
    )


def why_no_key(given: Given) -> tuple[str, str]:
    """Return why a command that has no key has none, and what to do about that."""
    here = Settings.load(endpoint=given.url)
    path, file = config_path(os.environ, sys.platform), _settings_of_file()
    if file.api_key is not None:
        change = (
            f'If that key is for {here.endpoint}, write this line into the file: url = "{here.endpoint}".'
        )
        return (
            f"the key in {path} was not sent to {here.endpoint}, because that key is for {file.endpoint}",
            f"{change} Otherwise give the key of {here.endpoint} in FAVCRM_API_KEY.",
        )
    places = ["--api-key", *KEY_VARIABLES, *([] if path is None else [str(path)])]
    steps = (
        'Sign up with "favcrm signup request".',
        f"With an account, sign in at {PORTAL}, create a key under Settings, MCP Keys,",
        'and save the key with "favcrm login".',
    )
    return f"no key was found in {', '.join(places[:-1])} or {places[-1]}", " ".join(steps)


def name_missing_key(given: Given, error: AuthenticationError) -> None:
    """Say in an error that no key was sent, because that is why the server refused."""
    reason, error.next_step = why_no_key(given)
    error.human_action = error.next_step
    error.message = f"{reason[0].upper()}{reason[1:]}. Nothing was done."


def _settings_of_file() -> Settings:
    return Settings.load(environment=_environment_without({*KEY_VARIABLES, *ENDPOINT_VARIABLES}))


def _environment_without(names: Collection[str]) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in names}


# The key that a code brings


def receive(
    given: Given,
    confirm: Callable[[FavCRMProvisioner], Workspace],
    *,
    ledger: Ledger | None,
    save: bool,
    show_key: bool,
) -> Found:
    """Confirm a code, and save or show the key that comes.

    Raises:
        StoreError: The key could not be saved or shown, so the code was not used.
    """
    path = _place_for_key(given) if save else None
    if path is None:
        _check_output()
    events: list[Event] = []
    favcrm = given.provisioner(
        store=MemoryStore() if path is None else ConfigFileStore(path), ledger=ledger, on_event=events.append
    )
    try:
        with favcrm:
            workspace = confirm(favcrm)
    except KeyboardInterrupt:
        received = favcrm.workspace
        if received is not None:
            saved = path is not None and received.ref is not None
            stop(f"The code was used. {f'The key is in {path}.' if saved else keep_aside(received.api_key)}")
        if any(event.kind is EventKind.VERIFY_SENT for event in events):
            stop("The code was sent. To see whether FavCRM took the code, run the same command again.")
        stop("The code was not used.")
    return show_workspace(workspace, path, show_key=show_key, given=given)


def show_workspace(workspace: Workspace, path: Path | None, *, show_key: bool, given: Given) -> Found:
    """Return a workspace. Its key is masked unless the user asked for the key, or the key is saved nowhere."""
    key = workspace.api_key.reveal() if show_key or path is None else str(workspace.api_key)
    names = {"organisationId": workspace.organisation_id, "companyId": workspace.company_id}
    names |= {"userId": workspace.user_id, "apiKey": key, "loginUrl": workspace.login_url}
    payload: dict[str, JSON] = {name: value for name, value in names.items() if value is not None}
    payload |= {"nextSteps": list(workspace.next_steps), **workspace.extra}
    lines = [f"Organisation: {workspace.organisation_id}", f"Key: {key}"]
    if path is not None:
        payload["apiKeySavedTo"] = str(path)
        lines += [f"Saved in: {path}", *other_address(given), "Then: favcrm whoami"]
    else:
        # FavCRM says how to save the key, which helps only while the key is saved nowhere.
        lines += [f"FavCRM says: {step}" for step in workspace.next_steps]
    return Found(payload, tuple(lines), unsaved=workspace.api_key if path is None else None)


def keep_aside(key: Secret) -> str:
    """Save a key that could not be shown in a file of its own, and return a sentence that says where the key is."""
    path = config_path(os.environ, sys.platform)
    if path is not None:
        store = EscrowStore(path.parent / "escrow")
        # Without a file the key would be lost, so then it is shown.
        with suppress(StoreError):
            return f"The key is in {store.path(store.put(KEY_NAME, key, {}))}."
    return f"The key is {key.reveal()}"


def _place_for_key(given: Given) -> Path:
    """Return the config file. It must have no key, because a code brings a key that would have no room."""
    path = config_file()
    if key_in_file() is not None:
        raise StoreError(
            f"A key is in {path} already. The code was not used.",
            next_step=f'See with "{_whoami(given)}" what that key opens. To receive a second key, give --no-save '
            "and --show-key: the new key is then shown and not saved.",
        )
    return path


def _whoami(given: Given) -> str:
    """Return the command that shows what the key in the config file opens, wherever other commands go."""
    goes_to = _settings_of_file().endpoint
    here = Settings.load(endpoint=given.url, environment=_environment_without(KEY_VARIABLES)).endpoint
    return "favcrm whoami" if goes_to == here else f"favcrm --url {goes_to} whoami"


def _check_output() -> None:
    """Refuse to use a code whose key could not be shown."""
    try:
        # Nothing is written, but a file that was opened for reading refuses even that.
        os.write(sys.stdout.fileno(), b"")
    except UnsupportedOperation:
        # It is no file, such as where another program runs the command in its own process.
        return
    except OSError as error:
        raise StoreError(
            f"The key could not be shown, because the standard output cannot be written: {error.strerror}. "
            "The code was not used.",
            next_step="Run the command again where its output can be written, or without --no-save.",
        ) from None
