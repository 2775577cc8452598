"""Where a key goes. A store of your own has the four methods of `Store`."""

from favcrm._core.ports import Store
from favcrm.stores.memory import MemoryStore

__all__ = ["MemoryStore", "Store"]
