"""What the stores have in common that hold one key, in a place that other programs read too."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from favcrm._atomic import dry_run, read, updated, wrap_errors
from favcrm._boundary import boundaries
from favcrm.errors import InvalidInputError, MissingKeyError, Problem, StoreError
from favcrm.secret import Secret, SecretRef
from favcrm.settings import as_secret, is_filled_in

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LONG_KEY = "k" * 4096
"""What a check writes, so that a disk with less room than that is found out."""
OTHER_KEY = (
    "Give another store or another place for the new key. Leave the key that is there: it may be the only copy, "
    "because FavCRM shows a key only once."
)

Changes: TypeAlias = Mapping[str, str | None]


@boundaries
class OneKeyStore(ABC):
    """A place with one key in it, under a name that is fixed, and beside it the name of its workspace.

    A key that was put there without the name of a workspace, such as by a person, is the key of every workspace.
    """

    scheme: str

    def __init__(self, *, place: str, label: str, name_label: str) -> None:
        self._place = place
        self._label = label
        self._name_label = name_label

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._place!r})"

    def check(self) -> None:
        """Find out whether a key can be saved, and leave nothing behind. Whether one is there, `get` tells."""
        with wrap_errors(f"No key can be saved in {self._place}"):
            self._check()

    def put(
        self,
        name: str,
        secret: Secret,
        metadata: Mapping[str, str],  # noqa: ARG002  # a store's contract; there is no place for it
        *,
        if_absent: bool = True,
    ) -> SecretRef:
        """Save a key and the name of its workspace; the metadata is not kept.

        With ``if_absent``, another key is not replaced, whatever its workspace.
        """

        def decide(found: Mapping[str, str]) -> Changes:
            if if_absent and (there := self._key_in(found)) is not None and there != secret:
                raise StoreError(
                    f"Another key is in {self._place}. It was not replaced.", next_step=OTHER_KEY
                )
            return {self._label: secret.reveal(), self._name_label: name}

        with wrap_errors(f"The key could not be saved in {self._place}"):
            self._change(decide)
        return SecretRef.of(self.scheme, name)

    def get(self, ref: SecretRef) -> Secret:
        """Return the key, read at this moment.

        The key of another workspace raises `StoreError` and not `MissingKeyError`, because the place has no room for a
        new one.
        """
        with wrap_errors(f"{self._place} cannot be read"):
            secret = self._find(ref)
        if secret is None:
            raise MissingKeyError(f"There is no key at {ref} in {self._place}.")
        return secret

    def delete(self, ref: SecretRef) -> None:
        """Remove the key; do nothing where it is another workspace's."""

        def decide(found: Mapping[str, str]) -> Changes:
            ours = self._label in found and self._holds(found, ref)
            return {self._label: None, self._name_label: None} if ours else {}

        with wrap_errors(f"The key could not be removed from {self._place}"):
            # Reads first, because a change makes the directories of the file.
            if decide(self._read()):
                self._change(decide)

    def _check(self) -> None:
        self._read()

    def _find(self, ref: SecretRef) -> Secret | None:
        if ref.scheme != self.scheme:
            return None
        found = self._read()
        secret = self._key_in(found)
        if secret is None:
            # `get` is called before a code is used, so a name that cannot be written must be refused here.
            self._check_name(ref.name)
        elif not self._holds(found, ref):
            named = found[self._name_label]
            raise StoreError(
                f"The key in {self._place} has the name {named}, and {ref.name} was asked for.",
                next_step=f"To work with the key that is there, give the name {named}. {OTHER_KEY}",
            )
        return secret

    def _holds(self, found: Mapping[str, str], ref: SecretRef) -> bool:
        named = found.get(self._name_label)
        return ref.scheme == self.scheme and (not named or named == ref.name)

    def _key_in(self, found: Mapping[str, str]) -> Secret | None:
        # People write here too, so a placeholder is no key here either.
        return as_secret(found[self._label]) if is_filled_in(found.get(self._label, "")) else None

    @abstractmethod
    def _check_name(self, name: str) -> None:
        """Raise what `put` would raise because of the name."""

    @abstractmethod
    def _read(self) -> Mapping[str, str]:
        """Return the texts that are there, by their labels."""

    @abstractmethod
    def _change(self, decide: Callable[[Mapping[str, str]], Changes]) -> None:
        """Change what ``decide`` returns for the texts that are there; None removes. No other process interferes."""


class OneKeyFileStore(OneKeyStore):
    """A text file with one key in it."""

    def __init__(self, path: Path, *, label: str, name_label: str) -> None:
        # A later change of the working directory must not move it.
        self._path = path.absolute()
        super().__init__(place=str(self._path), label=label, name_label=name_label)

    def _check(self) -> None:
        super()._check()
        with dry_run(self._path) as draft:
            self._write(draft, {self._label: LONG_KEY, self._name_label: "a-name"})

    def _check_name(self, name: str) -> None:
        self._edited(self._content(), {self._label: LONG_KEY, self._name_label: name})

    def _read(self) -> Mapping[str, str]:
        return self._texts(self._content())

    def _change(self, decide: Callable[[Mapping[str, str]], Changes]) -> None:
        with updated(self._path) as draft:
            if changes := decide(self._read()):
                self._write(draft, changes)

    def _write(self, draft: Path, changes: Changes) -> None:
        draft.write_bytes(self._edited(self._content(), changes))

    def _content(self) -> bytes:
        """Return what is in the file; nothing where there is none, or where its directory is no directory."""
        try:
            return read(self._path) or b""
        except NotADirectoryError:
            return b""

    @abstractmethod
    def _texts(self, content: bytes) -> Mapping[str, str]:
        """Return the texts in the file, by their labels."""

    @abstractmethod
    def _edited(self, content: bytes, changes: Changes) -> bytes:
        """Return the content with the changes and everything else as it is."""


def checked_variable(variable: str) -> str:
    """Return the name of a variable.

    Raises:
        InvalidInputError: The text is no name of a variable.
    """
    if VARIABLE.fullmatch(variable):
        return variable
    raise InvalidInputError([Problem("variable", "must be letters, digits and underscores")])
