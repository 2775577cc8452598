"""The workspaces that one object received, for who asks again."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from favcrm.models import Workspace
    from favcrm.store import Store

MOST_KEPT = 100


class Receipt(NamedTuple):
    """One workspace, and the store that its key went to or was to go to."""

    workspace: Workspace
    store: Store | None

    @property
    def unsaved(self) -> bool:
        """Whether the key is nowhere but here, although it was to be saved."""
        return self.store is not None and self.workspace.ref is None


class Received:
    """Remembers the last workspaces by their registration, and all whose key could not be saved.

    Attributes:
        last: The last one.
    """

    def __init__(self) -> None:
        self._receipts: dict[str, Receipt] = {}
        self.last: Workspace | None = None

    def find(self, request_id: str) -> Receipt | None:
        """Return the workspace of a registration, or None."""
        return self._receipts.get(request_id)

    def remember(self, request_id: str, workspace: Workspace, store: Store | None) -> None:
        """Remember a workspace. It raises nothing: a key has just come."""
        self.last = workspace
        self._receipts[request_id] = Receipt(workspace, store)
        if len(self._receipts) <= MOST_KEPT:
            return
        # A copy, because other threads change the original meanwhile.
        for old in list(self._receipts)[:-MOST_KEPT]:
            receipt = self._receipts.get(old)
            if receipt is not None and not receipt.unsaved:
                self._receipts.pop(old, None)
