"""``python -m favcrm``, the same as the command ``favcrm``."""

from __future__ import annotations

from favcrm.cli import main

if __name__ == "__main__":
    main()
