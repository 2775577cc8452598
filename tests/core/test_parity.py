"""Both colours have the same methods, parameters, defaults and words."""

from __future__ import annotations

import inspect
from typing import get_type_hints

import pytest

import favcrm
from favcrm import stores, transports

PAIRS = [
    (favcrm.FavCRMProvisioner, favcrm.AsyncFavCRMProvisioner),
    (favcrm.FavCRMClient, favcrm.AsyncFavCRMClient),
]
TWINS = {"close": "aclose", "__enter__": "__aenter__", "__exit__": "__aexit__"}


def _methods(cls: type) -> dict[str, object]:
    shown = {"__init__", *TWINS, *TWINS.values()}
    return {name: member for name, member in vars(cls).items() if not name.startswith("_") or name in shown}


@pytest.mark.parametrize(("blocking", "asynchronous"), PAIRS)
def test_sync_and_async_classes_have_the_same_methods_and_docstrings(
    blocking: type, asynchronous: type
) -> None:
    ours, theirs = _methods(blocking), _methods(asynchronous)
    assert [TWINS.get(name, name) for name in ours] == list(theirs)
    for name, method in ours.items():
        twin = theirs[TWINS.get(name, name)]
        if isinstance(method, property):
            assert isinstance(twin, property)
            assert method.__doc__ == twin.__doc__
            continue
        assert callable(method)
        assert callable(twin)
        assert inspect.getdoc(method) == inspect.getdoc(twin)
        assert inspect.iscoroutinefunction(twin) or name in {"__init__", "watch"}
        for parameter, other in zip(
            inspect.signature(method).parameters.values(),
            inspect.signature(twin).parameters.values(),
            strict=True,
        ):
            assert (parameter.name, parameter.kind, parameter.default) == (
                other.name,
                other.kind,
                other.default,
            )
            expected = str(other.annotation).replace("Async", "").replace("Awaitable[str]", "str")
            assert expected == str(parameter.annotation)


def test_constructors_are_as_designed() -> None:
    provisioner = inspect.signature(favcrm.FavCRMProvisioner).parameters
    assert list(provisioner) == [
        "endpoint",
        "api_key",
        "transport",
        "store",
        "escrow",
        "ledger",
        "retry",
        "timeout",
        "on_event",
        "http_client",
        "era",
        "profile",
    ]
    assert list(inspect.signature(favcrm.FavCRMClient).parameters) == [
        name for name in provisioner if name not in {"ledger", "escrow"}
    ]
    assert all(parameter.default is None for parameter in provisioner.values())


def test_sync_and_async_transports_take_the_same_arguments() -> None:
    ours = inspect.signature(transports.Transport.request).parameters
    theirs = inspect.signature(transports.AsyncTransport.request).parameters
    assert list(ours) == list(theirs)
    assert set(_methods(stores.MemoryStore)) - {"__init__", "scheme", "blocks"} == {
        "check",
        "put",
        "get",
        "delete",
    }


@pytest.mark.parametrize("name", sorted(vars(favcrm)["_MODULES"]))
def test_annotations_resolve_at_run_time_as_agent_frameworks_need(name: str) -> None:
    public = getattr(favcrm, name)
    if not isinstance(public, type):
        assert get_type_hints(public)
        return
    if issubclass(public, favcrm.FavCRMError):
        return  # frameworks catch errors, they do not build them from annotations
    get_type_hints(public)
    for method in _methods(public).values():
        if inspect.isfunction(method):
            get_type_hints(method)
