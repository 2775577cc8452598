"""A store in the keyring of the desktop: Secret Service, KWallet, macOS Keychain, Windows Credential Manager."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import wait
from contextlib import closing
from functools import partial
from threading import Lock
from typing import Protocol, TypeVar

from favcrm._boundary import boundaries
from favcrm._threads import start
from favcrm.errors import MissingKeyError, StoreError
from favcrm.secret import Secret, SecretRef
from favcrm.stores._packages import keyring, secretstorage
from favcrm.stores._services import (
    NOT_CERTAIN,
    NOT_READ,
    NOT_REMOVED,
    NOT_SAVED,
    NOT_USABLE,
    Reason,
    by_name,
    check_read_back,
    failure,
    reason_by_class,
    taken,
)

__all__ = ["KeyringBackend", "KeyringStore"]

T = TypeVar("T")

UNLOCK = "Unlock the keyring, as by logging in to the desktop, and try again; or use another store."
NO_KEYRING = (
    "Start a keyring (on Linux a Secret Service, such as gnome-keyring, and D-Bus), or use another store."
)
LOCKED = Reason("the keyring is locked", UNLOCK)
ABSENT = Reason("there is no keyring here", NO_KEYRING)
REASONS = by_name(
    {
        "KeyringLocked LockedException": LOCKED,
        "PromptDismissedException": Reason("the keyring is locked, and nobody unlocked it", UNLOCK),
        "InitError": Reason("the keyring could not be opened", UNLOCK),
        "ItemNotFoundException": Reason(
            "the keyring has no collection to keep a key in",
            "Create a default keyring, as with the desktop's password manager, or use another store.",
        ),
        "NoKeyringError SecretServiceNotAvailableException": ABSENT,
    }
)
"""Why a call failed, by the names of the exceptions of keyring and secretstorage."""


class KeyringBackend(Protocol):
    """What the store needs of a keyring. Every ``keyring.backend.KeyringBackend`` has it."""

    def get_password(self, service: str, username: str, /) -> str | None:
        """Return what is kept under a name, or None."""
        ...

    def set_password(self, service: str, username: str, password: str, /) -> None:
        """Keep something under a name."""
        ...

    def delete_password(self, service: str, username: str, /) -> None:
        """Remove what is kept under a name."""
        ...


@boundaries
class KeyringStore:
    """Keeps keys in the keyring of whoever is logged in. Needs the extra ``keyring``.

    No call takes longer than ``timeout``, even where the keyring asks to be unlocked and nobody answers. A call
    that was given up begins no write afterwards.

    Args:
        backend: The keyring to use, such as any ``keyring.backend.KeyringBackend``. By default the one that
            ``keyring`` finds or is configured for.
        service: What the keyring lists the keys under. It is not in the references, which hold the name alone.
        allow_plaintext: Whether to accept a keyring that keeps keys in files of its own, as those of
            ``keyrings.alt`` do: in the clear, or behind a password that it asks for on the terminal.
        timeout: Seconds that a call may take.

    Example:
        >>> store = KeyringStore(timeout=5)
        >>> store
        KeyringStore(service='favcrm')
    """

    scheme: str = "keyring"

    def __init__(
        self,
        backend: KeyringBackend | None = None,
        *,
        service: str = "favcrm",
        allow_plaintext: bool = False,
        timeout: float = 10.0,
    ) -> None:
        self._backend = backend
        self._service = service
        self._allow_plaintext = allow_plaintext
        self._timeout = timeout

    def __repr__(self) -> str:
        return f"{type(self).__name__}(service={self._service!r})"

    def check(self) -> None:
        """Find out whether there is a keyring, whether it is safe, and, with Secret Service, that it is unlocked.

        Nobody is asked to unlock it. Other keyrings than Secret Service cannot be asked this without a prompt.
        """
        self._in_time(lambda _: _check_unlocked(self._usable()), failing=NOT_USABLE)

    def put(
        self,
        name: str,
        secret: Secret,
        metadata: Mapping[str, str],  # noqa: ARG002  # a store's contract; keyrings have no place for it
        *,
        if_absent: bool = True,
    ) -> SecretRef:
        """Save a secret under a name, and read it back; the metadata is not kept.

        Keyrings cannot create a key only where there is none. The store looks for one first, so of two programs that
        save another key under the same name at the same moment neither is refused. A `StoreError` says where it is
        not certain whether the secret was saved.
        """
        ref = SecretRef.of(self.scheme, name)

        def save(writing: Lock) -> None:
            backend = self._usable()
            found = self._find(backend, name)
            if found == secret:
                return
            if found is not None and if_absent:
                raise taken(ref)
            if writing.acquire(blocking=False):
                backend.set_password(self._service, name, secret.reveal())
                check_read_back(self._find(backend, name), secret, "the keyring")

        self._in_time(save, failing=NOT_SAVED, uncertain=NOT_CERTAIN)
        return ref

    def get(self, ref: SecretRef) -> Secret:
        """Return a secret. Where the keyring is locked, it may ask the user to unlock it."""
        secret = self._in_time(lambda _: self._find(self._usable(), ref.name), failing=NOT_READ)
        if secret is None:
            raise MissingKeyError(f"There is no key at {ref}.")
        return secret

    def delete(self, ref: SecretRef) -> None:
        """Remove a secret, and look whether it is gone."""

        def remove(writing: Lock) -> None:
            backend = self._usable()
            if self._find(backend, ref.name) is not None and writing.acquire(blocking=False):
                backend.delete_password(self._service, ref.name)
                if self._find(backend, ref.name) is not None:
                    raise StoreError(f"{NOT_REMOVED}: the keyring still has one of that name.")

        self._in_time(remove, failing=NOT_REMOVED)

    def _find(self, backend: KeyringBackend, name: str) -> Secret | None:
        value = backend.get_password(self._service, name)
        return None if value is None else Secret(value)

    def _usable(self) -> KeyringBackend:
        """Return the keyring, unless it would keep the key badly or not at all."""
        backend: KeyringBackend = self._backend if self._backend is not None else keyring().get_keyring()
        if "keyring.backends.chainer" in _modules(backend):
            # A chain writes to its first keyring alone, so that one is judged, and used.
            backend = getattr(backend, "backends")[0]  # noqa: B009  # not every backend has it
        modules = _modules(backend)
        if {"keyring.backends.fail", "keyring.backends.null"} & modules:
            raise failure(ABSENT, failing=NOT_USABLE)
        in_files = "plaintext" in type(backend).__name__.lower() or any(
            module.startswith("keyrings.alt.") for module in modules
        )
        if in_files and not self._allow_plaintext:
            raise StoreError(
                f"{NOT_USABLE}: the keyring here is {type(backend).__name__}, which keeps keys in a plain file.",
                next_step=f"{NO_KEYRING} Where a plain file is good enough, say allow_plaintext=True.",
            )
        return backend

    def _in_time(self, work: Callable[[Lock], T], *, failing: str, uncertain: str | None = None) -> T:
        """Do the work in a thread, and wait for it until the deadline.

        The lock is taken once: by the work before it writes, or here when the wait is over. So nothing is written
        after the wait, and once the lock is the work's, it is not certain that nothing was.
        """
        writing = Lock()
        explain = partial(failure, failing=failing, uncertain=uncertain)
        future, _ = start(partial(work, writing))
        try:
            done, _ = wait([future], self._timeout)
        finally:
            untouched = writing.acquire(blocking=False)
        if not done:
            late = Reason(f"the keyring did not answer within {self._timeout:g} seconds", UNLOCK, untouched)
            raise explain(late)
        error = future.exception()
        if error is None or isinstance(error, StoreError):
            return future.result()
        raise explain(_find_reason(error)._replace(certain=untouched))


def _modules(backend: KeyringBackend) -> set[str]:
    return {kind.__module__ for kind in type(backend).__mro__}


def _find_reason(error: BaseException) -> Reason:
    return reason_by_class(error, REASONS) or Reason(f"the keyring failed with {type(error).__name__}")


def _check_unlocked(backend: KeyringBackend) -> None:
    """Find out, with Secret Service, whether the collection is there and unlocked, without a prompt.

    Raises:
        StoreError: The keyring is locked.
    """
    if "keyring.backends.SecretService" not in _modules(backend):
        return
    library = secretstorage()
    # keyring's own setting, for those who keep keys in another collection than the default one.
    preferred = getattr(backend, "preferred_collection", None)
    with closing(library.dbus_init()) as connection:
        collection = library.Collection(connection, *([preferred] if preferred else []))
        locked = collection.is_locked()
    if locked:
        raise failure(LOCKED, failing=NOT_USABLE)
