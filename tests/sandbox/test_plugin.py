"""The fixture for users' own tests."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from favcrm.transport import Request

if TYPE_CHECKING:
    import pytest

    from favcrm.sandbox import Sandbox


def test_the_fixture_is_a_fresh_sandbox(favcrm_sandbox: Sandbox) -> None:
    assert favcrm_sandbox.calls == ()
    response = favcrm_sandbox.transport().request(Request("tools/list", {}, timeout=1.0))
    assert response.status == 200


def test_an_unused_plugin_does_not_import_the_sandbox(pytestconfig: pytest.Config) -> None:
    plugin = sys.modules["favcrm.pytest_plugin"]
    assert pytestconfig.pluginmanager.get_name(plugin) is not None
    assert not hasattr(plugin, "Sandbox")
