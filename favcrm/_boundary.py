"""The boundary of the package: what a public method raises carries neither the frames of this package nor a cause.

Tools that report errors write down the local variables of every frame, and the causes of every error. Inside of this
package these may hold a key, a code or an email. So a wrapper around each public method strips what the method raises:
an error of ours, Ctrl-C, a cancellation, or anything else.
"""

from __future__ import annotations

import inspect
import os
import traceback
from collections.abc import Callable, Generator, Iterator
from functools import wraps
from pathlib import Path
from types import FunctionType, TracebackType
from typing import Any, TypeVar, cast

from favcrm.errors import FavCRMError

E = TypeVar("E", bound=BaseException)
F = TypeVar("F", bound=Callable[..., object])
C = TypeVar("C", bound=type)

# attrs writes constructors, and their frames hold the arguments too.
OURS = (f"{Path(__file__).parent}{os.sep}", "<attrs generated")
SPECIAL_METHODS = frozenset({"__init__", "__call__"})


def bare(error: E) -> E:
    """Return an error without its frames and its cause, because these may hold the key or an answer."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def boundaries(cls: C) -> C:
    """Put a `boundary` around the constructor and each public method of a class."""
    for name, member in [*vars(cls).items()]:
        if isinstance(member, FunctionType) and (not name.startswith("_") or name in SPECIAL_METHODS):
            setattr(cls, name, boundary(member))
    return cls


def boundary(function: F) -> F:
    """Wrap a public function, so that what it raises carries neither our frames nor a cause.

    The wrapper raises outside of its ``except``, so that the context is the caller's own. The frame of the wrapper is
    in the traceback too. So the wrapper drops its arguments before, and the error, with which it would be in a cycle.
    """
    if inspect.iscoroutinefunction(function):
        wrapper = _around_coroutine(function)
    elif inspect.isasyncgenfunction(function):
        wrapper = _around_async_generator(function)
    elif inspect.isgeneratorfunction(function):
        wrapper = _around_generator(function)
    else:
        wrapper = _around_function(function)
    return cast("F", wraps(function)(wrapper))


def _around_function(function: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001  # raised below
            failure = [_stripped(error)]
        del args, kwargs
        raise failure.pop()

    return guarded


def _around_coroutine(function: Callable[..., Any]) -> Callable[..., Any]:
    async def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return await function(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001  # raised below
            failure = [_stripped(error)]
        del args, kwargs
        raise failure.pop()

    return guarded


def _around_generator(function: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        try:
            generator: Generator[Any, Any, Any] = function(*args, **kwargs)
            return (yield from generator)
        except BaseException as error:  # noqa: BLE001  # raised below
            failure = [_stripped(error)]
        del args, kwargs
        raise failure.pop()

    return guarded


def _around_async_generator(function: Callable[..., Any]) -> Callable[..., Any]:
    async def guarded(*args: Any, **kwargs: Any) -> Any:
        generator = function(*args, **kwargs)
        del args, kwargs
        try:
            async for value in generator:
                yield value
        except BaseException as error:  # noqa: BLE001  # raised below
            failure = [_stripped(error)]
        else:
            return
        finally:
            await generator.aclose()
        raise failure.pop()

    return guarded


def _stripped(error: E) -> E:
    """Strip an error. The frames of a user's own ``read_code`` stay, so that the user sees where it failed."""
    if isinstance(error, FavCRMError) or not isinstance(error, Exception):
        return bare(error)
    for each in _chain(error):
        links = _links(each.__traceback__)
        if not isinstance(each, FavCRMError):
            each.__traceback__ = _without_our_frames(links)
        elif links and _is_ours(links[0]):
            # It was caught in this package. One that was raised to the caller may be what the caller handles now.
            bare(each)
    return error


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and the errors behind it."""
    waiting, seen = [error], set[int]()
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        # Collected before it is stripped.
        waiting += [more for more in (each.__cause__, each.__context__) if more is not None]
        if isinstance(each, BaseExceptionGroup):
            waiting += cast("BaseExceptionGroup[BaseException]", each).exceptions
        yield each


def _links(trace: TracebackType | None) -> list[TracebackType]:
    links: list[TracebackType] = []
    while trace is not None:
        links.append(trace)
        trace = trace.tb_next
    return links


def _without_our_frames(links: list[TracebackType]) -> TracebackType | None:
    """Return a traceback without our frames. A defect of ours keeps them, emptied, so that it can be mended."""
    if links and _is_ours(links[-1]):
        # The first of them may be the boundary itself, which cannot be emptied while it runs.
        traceback.clear_frames(links[0])
    else:
        links = [link for link in links if not _is_ours(link)]
    kept: TracebackType | None = None
    for link in reversed(links):
        kept = TracebackType(kept, link.tb_frame, link.tb_lasti, link.tb_lineno)
    return kept


def _is_ours(link: TracebackType) -> bool:
    return link.tb_frame.f_code.co_filename.startswith(OURS)
