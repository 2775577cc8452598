"""Fixtures for tests of code that uses FavCRM. pytest finds them by itself once this package is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from favcrm.sandbox import Sandbox


@pytest.fixture
def favcrm_sandbox() -> Sandbox:
    """A fresh embedded FavCRM in this process.

    Example:
        >>> def test_mine(favcrm_sandbox):
        ...     favcrm = FavCRMProvisioner(transport=favcrm_sandbox.transport())
    """
    # Imported here so that test runs without this fixture do not pay for it.
    from favcrm.sandbox import Sandbox

    return Sandbox()
