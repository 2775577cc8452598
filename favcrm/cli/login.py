"""``favcrm login``: a key that was made in the portal is checked and saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from favcrm.cli.keys import KEY_NAME, config_file, key_in_file, other_address
from favcrm.cli.options import Given, action, read_hidden
from favcrm.cli.output import Found
from favcrm.errors import FavCRMError, PlanLimitError, StoreError
from favcrm.secret import Secret
from favcrm.settings import Settings, as_secret, check_key
from favcrm.stores import ConfigFileStore

if TYPE_CHECKING:
    from favcrm.typing import JSON

__all__ = ["login"]


@click.command()
@click.argument("key", type=as_secret, required=False)
@click.option("--replace", is_flag=True, help="Replace another key; the old file is kept.")
@action(stopped="The key was not saved.")
def login(given: Given, *, key: Secret | None, replace: bool) -> Found:
    """Save a key that was made in the portal in the config file.

    The server is asked first whether it takes the key. Without KEY you type the key, or pipe it in, so that no
    history of commands has it.
    """
    if key is None:
        key = read_key()
    # The key and the settings are checked before anything is sent or replaced.
    check_key(key)
    Settings.load(endpoint=given.url)
    path = config_file()
    store = ConfigFileStore(path)
    there = key_in_file()
    if there is not None and there != key and not replace:
        raise StoreError(
            f"Another key is in {path}. That key was not replaced, and the new key was not saved.",
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
    return Found(payload, (*lines, *other_address(given)))


def read_key() -> Secret:
    """Return a key that a person types, or that comes from a pipe."""
    if key := read_hidden("Key: ").strip():
        return Secret(key)
    raise FavCRMError(
        "No key was given, so none was saved.",
        next_step='Run "favcrm login" in a terminal and type the key, or run "favcrm login KEY".',
    )


def try_key(given: Given, key: Secret) -> None:
    """Ask the server whether it takes a key.

    Raises:
        FavCRMError: The server does not take the key, or did not answer.
    """
    try:
        with given.client(key) as crm:
            crm.call_tool("list_my_companies", {})
    except PlanLimitError:
        # The key is good, because the server knows the plan of its workspace.
        return
    except FavCRMError as error:
        error.message = f"{error.message} The key was not saved."
        raise
