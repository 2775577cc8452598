"""A store in the environment of this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from threading import Lock

from favcrm.errors import StoreError
from favcrm.stores._one_key import Changes, OneKeyStore, checked_variable

__all__ = ["EnvironmentStore"]

LOCK = Lock()


class EnvironmentStore(OneKeyStore):
    """Keeps one key in a variable of this process, where the clients find it. It is gone when the process ends.

    The name of the key's workspace is kept in a second variable, ``FAVCRM_API_KEY_NAME``. A key that was there
    without it is taken for the key of every workspace. Processes that this one starts get both.

    Args:
        variable: The variable for the key. ``_NAME`` is appended for the workspace's name.

    Raises:
        InvalidInputError: The text is no name of a variable.

    Example:
        >>> from favcrm import Secret
        >>> store = EnvironmentStore("ACME_KEY")
        >>> ref = store.put("acme", Secret("not-a-real-key-6789"), {})
        >>> ref
        'env://favcrm/acme'
        >>> store.get(ref)
        Secret('...6789')
        >>> store.delete(ref)
    """

    scheme: str = "env"
    blocks: bool = False

    def __init__(self, variable: str = "FAVCRM_API_KEY") -> None:
        super().__init__(place=checked_variable(variable), label=variable, name_label=f"{variable}_NAME")

    def _check_name(self, name: str) -> None:
        if b"\0" in os.fsencode(name):
            raise StoreError(f"A name with a NUL in it cannot be kept beside {self._place}.")

    def _read(self) -> Mapping[str, str]:
        return {label: os.environ[label] for label in (self._label, self._name_label) if label in os.environ}

    def _change(self, decide: Callable[[Mapping[str, str]], Changes]) -> None:
        with LOCK:
            for label, text in decide(self._read()).items():
                if text is None:
                    os.environ.pop(label, None)
                else:
                    os.environ[label] = text
