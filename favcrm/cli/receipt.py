"""The key that a command receives: where it goes, how it is shown, and that it is never lost."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from io import UnsupportedOperation
from typing import TYPE_CHECKING

from favcrm import EventKind
from favcrm.cli.keys import KEY_NAME, config_file, elsewhere, key_in_file
from favcrm.cli.output import Found
from favcrm.errors import StoreError
from favcrm.settings import config_path
from favcrm.stores import ConfigFileStore, EscrowStore, MemoryStore

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from favcrm.cli.options import Given
    from favcrm.events import Event
    from favcrm.models import Workspace
    from favcrm.secret import Secret, SecretRef
    from favcrm.typing import JSON

__all__ = ["Receipt", "keep_aside", "received", "was_shown"]


class ShownKey(MemoryStore):
    """Holds a key that is shown and not saved, so that an interruption does not lose the key."""

    def __init__(self) -> None:
        super().__init__()
        self.key: Secret | None = None

    def put(
        self, name: str, secret: Secret, metadata: Mapping[str, str], *, if_absent: bool = True
    ) -> SecretRef:
        """Hold a key."""
        self.key = secret
        return super().put(name, secret, metadata, if_absent=if_absent)


class Receipt:
    """Where the key of one command goes, and how far the command came.

    Attributes:
        path: The file in which the key is saved, or None where the key is only shown.
        store: The store of the key.

    Args:
        save: Whether the key is saved.

    Raises:
        StoreError: The key could not be saved or shown, so the code is not to be used.
    """

    def __init__(self, *, save: bool) -> None:
        self.path: Path | None = None
        self.store: ConfigFileStore | ShownKey = ShownKey()
        self._seen: set[EventKind] = set()
        if save:
            self.path = config_file()
            self.store = ConfigFileStore(self.path)
            _refuse_another_key(self.path)
        else:
            _check_output()

    def note(self, event: Event) -> None:
        """Remember how far the command came."""
        self._seen.add(event.kind)

    def stopped(self) -> str:
        """Return what was and was not done by a command that Ctrl-C ended."""
        if EventKind.VERIFY_SENT not in self._seen:
            return "The code was not used."
        if EventKind.KEY_STORED not in self._seen:
            return (
                "The code was sent. Run the same command again, with the same code, to see what became of it."
            )
        if isinstance(self.store, ShownKey) and self.store.key is not None:
            return f"The code was used. {keep_aside(self.store.key)}"
        return f"The code was used, and the key is saved in {self.path}."


def was_shown(ref: SecretRef) -> bool:
    """Tell whether the key of a confirmed registration was only shown."""
    return ref.scheme == ShownKey.scheme


def keep_aside(key: Secret) -> str:
    """Save a key that could not be shown in a file of its own, and return a sentence that says where the key is."""
    path = config_path(os.environ, sys.platform)
    if path is not None:
        store = EscrowStore(path.parent / "escrow")
        # Without a file the key would be lost, so then it is shown.
        with suppress(StoreError):
            return f"The key is in {store.path(store.put(KEY_NAME, key, {}))}."
    return f"The key is {key.reveal()}"


def received(workspace: Workspace, path: Path | None, *, show_key: bool, given: Given) -> Found:
    """Return a workspace. Its key is masked unless the user asked for the key, or the key is saved nowhere."""
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
    return Found(
        payload, (*lines, *workspace.next_steps), unsaved=workspace.api_key if path is None else None
    )


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


def _refuse_another_key(path: Path) -> None:
    """Refuse to use a code whose key would have no room in the config file."""
    if key_in_file() is not None:
        raise StoreError(
            # It may be the key of this very sign-up, where the command is run twice.
            f"A key is in {path} already. The code was not used.",
            next_step='See with "favcrm whoami" what that key opens. To have another key beside it, give --no-save '
            "and --show-key: then the new one is only shown.",
        )
