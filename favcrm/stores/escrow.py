"""The last resort for a key: a file of its own."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import cast

from favcrm._atomic import create, dry_run_create, leftovers, read, sync_directory, wrap_errors
from favcrm._boundary import boundaries
from favcrm.errors import MissingKeyError, StoreError
from favcrm.secret import Secret, SecretRef

__all__ = ["EscrowStore"]

VERSION = 1
MOST = 100
LONGEST_STEM = 40
LONGEST_FILE = 8192


@boundaries
class EscrowStore:
    """Keeps each key in a new file of its own, which only its owner can read. It never replaces and never merges one.

    A file is whole or is not there. An escrow is for the moment in which the store fails: move the key to a store that
    works, and delete it here.

    Args:
        directory: Where the files go. It is made where it is missing.

    Example:
        >>> from favcrm import Secret
        >>> store = EscrowStore("escrow")
        >>> ref = store.put("acme", Secret("not-a-real-key-6789"), {})
        >>> ref
        'escrow://favcrm/acme'
        >>> store.path(ref).parent.name
        'escrow'
        >>> store.get(ref)
        Secret('...6789')
        >>> store.delete(ref)
    """

    scheme: str = "escrow"

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._directory = Path(directory).absolute()

    def __repr__(self) -> str:
        return f"EscrowStore({str(self._directory)!r})"

    def check(self) -> None:
        """Make a file in a new private directory, and remove both."""
        with wrap_errors(f"No key can be saved in {self._directory}"):
            dry_run_create(self._directory / "key.json", bytes(LONGEST_FILE))

    def put(
        self,
        name: str,
        secret: Secret,
        metadata: Mapping[str, str],
        *,
        if_absent: bool = True,  # noqa: ARG002  # a store's contract; nothing is ever replaced here
    ) -> SecretRef:
        """Save a secret and the metadata in a new file; do nothing where the secret is there already.

        Another secret is never replaced: where one has the name, a number is appended to the name.
        """
        with wrap_errors(f"The key could not be saved in {self._directory}"):
            return self._put(name, secret, metadata)

    def get(self, ref: SecretRef) -> Secret:
        """Return a secret. What a killed process has left of its file is named in the error."""
        path = self.path(ref)
        with wrap_errors(f"{path} cannot be read"):
            secret = self._find(ref)
        if secret is not None:
            return secret
        message = f"There is no key at {ref} in {self._directory}."
        if left := leftovers(path):
            raise MissingKeyError(
                f"{message} A process was killed while it wrote one; what it wrote is in {left[0]}.",
                next_step=f"If that file is whole, rename it to {path}; otherwise remove its directory.",
            )
        raise MissingKeyError(message)

    def delete(self, ref: SecretRef) -> None:
        """Remove a secret and its file."""
        path = self.path(ref)
        with wrap_errors(f"{path} could not be removed"):
            if self._find(ref) is None:
                return
            # A process that was killed right after it named the file has left the draft, which is the same file.
            for left in leftovers(path):
                if left.samefile(path):
                    left.unlink()
            path.unlink(missing_ok=True)
            sync_directory(path.parent)

    def path(self, ref: SecretRef) -> Path:
        """Return the file that a secret is in, or would be."""
        stem = re.sub(r"[^A-Za-z0-9_-]+", "-", ref.name)[:LONGEST_STEM]
        mark = hashlib.sha256(ref.name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        return self._directory / f"favcrm-key-{stem}-{mark}.json"

    def _put(self, name: str, secret: Secret, metadata: Mapping[str, str]) -> SecretRef:
        for free_name in (name, *(f"{name} ({number})" for number in range(2, MOST + 1))):
            ref = SecretRef.of(self.scheme, free_name)
            content = {"favcrm_escrow": VERSION, "name": free_name, "metadata": dict(metadata)}
            content["api_key"] = secret.reveal()
            try:
                create(self.path(ref), (json.dumps(content, indent=2) + "\n").encode())
            except FileExistsError:
                # A file that cannot be read must not keep a key from being saved in the next one.
                with suppress(OSError, StoreError):
                    if self._find(ref) == secret:
                        return ref
            else:
                return ref
        raise OSError(errno.EEXIST, f"It has {MOST} other keys of that name")

    def _find(self, ref: SecretRef) -> Secret | None:
        if ref.scheme != self.scheme or (content := read(self.path(ref))) is None:
            return None
        key = _key_in(content)
        if not key:
            raise StoreError(f"{self.path(ref)} is not an escrow file, or not a whole one.")
        return Secret(key)


def _key_in(content: bytes) -> str:
    """Return the key in a file, or nothing where it is not an escrow file or not a whole one."""
    try:
        entry: object = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(entry, dict):
        return ""
    fields = cast("dict[str, object]", entry)
    key = fields.get("api_key")
    return key if fields.get("favcrm_escrow") == VERSION and isinstance(key, str) else ""
