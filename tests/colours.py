"""One way to use both colours in a test: what the blocking side returns at once is awaited all the same.

A folder whose tests run in each colour imports the fixtures `way`, `colour` and `anyio_backend` into its conftest.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal

import pytest

import favcrm
from favcrm.sandbox import Sandbox
from favcrm.transport import Request

Colour = Literal["blocking", "asynchronous"]

WAYS: dict[str, tuple[Colour, str]] = {
    "blocking": ("blocking", "asyncio"),
    "asyncio": ("asynchronous", "asyncio"),
    "trio": ("asynchronous", "trio"),
}


@pytest.fixture(params=list(WAYS))
def way(request: pytest.FixtureRequest) -> tuple[Colour, str]:
    """Every colour on every event loop it knows; the blocking one needs none, and works inside one."""
    return WAYS[request.param]


@pytest.fixture
def colour(way: tuple[Colour, str]) -> Colour:
    """The colour under test."""
    return way[0]


@pytest.fixture
def anyio_backend(way: tuple[Colour, str]) -> str:
    """The event loop of the test."""
    return way[1]


class Facade:
    """A provisioner or client of either colour, with async methods.

    A plain function given as ``read_code`` becomes a coroutine function where the facade is asynchronous.
    """

    def __init__(self, inner: object) -> None:
        self.inner: Any = inner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def call(*args: object, **keywords: Any) -> Any:
            if hasattr(self.inner, "aclose") and inspect.isroutine(read := keywords.get("read_code")):
                keywords["read_code"] = as_coroutine_function(read)
            result = getattr(self.inner, name)(*args, **keywords)
            return await result if inspect.isawaitable(result) else result

        return call

    async def end(self) -> None:
        """Close it."""
        result = self.inner.close() if hasattr(self.inner, "close") else self.inner.aclose()
        if inspect.isawaitable(result):
            await result


def as_coroutine_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what awaits to what a function returns."""

    async def call(*args: object) -> Any:
        result = function(*args)
        return await result if inspect.isawaitable(result) else result

    return call


def provisioner(colour: Colour, *args: Any, **options: Any) -> Facade:
    """Return a provisioner of a colour; what is at an address is taken for FavCRM, and not asked what it speaks."""
    if args:
        options.setdefault("era", "bare")
    kinds = {"blocking": favcrm.FavCRMProvisioner, "asynchronous": favcrm.AsyncFavCRMProvisioner}
    return Facade(kinds[colour](*args, **options))


def client(colour: Colour, *args: Any, **options: Any) -> Facade:
    """Return a client of a colour, as `provisioner`."""
    if args:
        options.setdefault("era", "bare")
    kinds = {"blocking": favcrm.FavCRMClient, "asynchronous": favcrm.AsyncFavCRMClient}
    return Facade(kinds[colour](*args, **options))


def transport_to(sandbox: Sandbox, colour: Colour) -> Any:
    """Return the sandbox's transport of a colour."""
    return sandbox.transport() if colour == "blocking" else sandbox.async_transport()


class OwnTransport:
    """A transport of a user's own, which answers each request as a function does."""

    def __init__(self, answer: Callable[[Request], Any], clock: object) -> None:
        self.request = answer
        if clock is not None:
            self.clock = clock

    def close(self) -> None:
        """Nothing is open."""


class AsyncOwnTransport(OwnTransport):
    """`OwnTransport`, asynchronous; the function may return something to await."""

    def __init__(self, answer: Callable[[Request], Any], clock: object) -> None:
        super().__init__(as_coroutine_function(answer), clock)

    async def aclose(self) -> None:
        """Nothing is open."""


def own_transport(colour: Colour, answer: Callable[[Request], Any], *, clock: object = None) -> Any:
    """Return a transport of a colour that answers as a function does."""
    kinds = {"blocking": OwnTransport, "asynchronous": AsyncOwnTransport}
    return kinds[colour](answer, clock)
