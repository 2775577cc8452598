"""The store in the environment."""

from __future__ import annotations

import os

import pytest
from stores.machine import new_key, run

from favcrm import FavCRMClient, InvalidInputError, Secret
from favcrm.sandbox import Sandbox
from favcrm.stores.environment import EnvironmentStore


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for label in ("FAVCRM_API_KEY", "FAVCRM_API_KEY_NAME"):
        monkeypatch.setenv(label, "")
        monkeypatch.delenv(label)


def test_a_client_finds_the_key_there() -> None:
    sandbox = Sandbox()
    EnvironmentStore().put("acme", sandbox.add_organisation(), {})
    with FavCRMClient(transport=sandbox.transport()) as crm:
        assert crm.call_tool("list_services").data is not None


def test_processes_that_are_started_afterwards_get_the_key_and_its_name() -> None:
    key = new_key()
    EnvironmentStore().put("acme", Secret(key), {})
    script = "import os; print(os.environ['FAVCRM_API_KEY'], os.environ['FAVCRM_API_KEY_NAME'])"
    assert run(script) == (0, f"{key} acme\n")


def test_nothing_is_left_after_delete() -> None:
    store = EnvironmentStore()
    store.delete(store.put("acme", Secret(new_key()), {}))
    assert not {"FAVCRM_API_KEY", "FAVCRM_API_KEY_NAME"} & set(os.environ)


@pytest.mark.parametrize("variable", ["", "A B", "A=B", "1A", "A\0"])
def test_a_bad_name_of_a_variable_raises_invalid_input_error(variable: str) -> None:
    with pytest.raises(InvalidInputError, match="variable: must be"):
        EnvironmentStore(variable)
