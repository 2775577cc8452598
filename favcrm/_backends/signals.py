"""Signal handlers run at once, but what they raise is held until it can do no harm."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from favcrm._boundary import bare

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    Handler: TypeAlias = Callable[[int, FrameType | None], Any]
    Disposition: TypeAlias = Handler | int | None

# The module behind `signal`. `signal` itself makes enumerations when it is loaded, and turns each number into one of
# them, which takes as long as a call.
_signal: Any = import_module("_signal")

VALID: set[int] = _signal.valid_signals()
# The signals that come from outside and end a process that does not handle them. A system has most of them.
ENDING: set[int] = {
    getattr(_signal, f"SIG{name}")
    for name in ("HUP", "INT", "QUIT", "BREAK", "PIPE", "ALRM", "TERM", "USR1", "USR2", "XCPU")
    if hasattr(_signal, f"SIG{name}")
}


class HeldSignals:
    """Every signal's handler, wrapped. Used in the main thread, where Python runs them.

    A signal that has no handler and ends the process is noted, and sent again when it is released.

    Args:
        is_needed: Tells whether what signals are held for still goes on.
    """

    def __init__(self, is_needed: Callable[[], bool]) -> None:
        self._is_needed = is_needed
        self._wrapped: dict[int, tuple[Handler, Disposition]] = {}
        self._raised: list[BaseException] = []
        self._noted: list[int] = []

    @property
    def holds_something(self) -> bool:
        """Whether an exception or a signal waits to take effect, so that nothing new should begin."""
        return bool(self._raised or self._noted)

    def hold(self) -> None:
        """Begin to hold what handlers raise; do nothing if it has begun already."""
        if self._wrapped:
            return
        with suppress(ValueError):  # a subinterpreter may set no handlers, and none of them runs in it
            self._wrap_all()

    def release(self) -> BaseException | None:
        """Put the handlers back, send again what was noted, and return the first exception that was held."""
        while self._wrapped:
            try:
                self._put_back()
            except BaseException as error:  # noqa: BLE001  # a handler that is back already may raise anything
                self._raised.append(bare(error))
        raised, self._raised = self._raised, []
        noted, self._noted = self._noted, []
        for number in noted:
            _signal.raise_signal(number)
        return raised[0] if raised else None

    def forget(self) -> None:
        """Put the handlers back, and drop what was held."""
        self._put_back()
        self._raised.clear()
        self._noted.clear()

    def _put_back(self) -> None:
        """Put the handlers back, except where somebody has set another one meanwhile."""
        for number, (wrapper, disposition) in list(self._wrapped.items()):
            if _signal.getsignal(number) is wrapper:
                _signal.signal(number, _now_right(disposition))
            del self._wrapped[number]

    def _wrap_all(self) -> None:
        handlers = {number: _signal.getsignal(number) for number in VALID}
        ending = [
            number
            for number in ENDING
            if handlers.get(number) == _signal.SIG_DFL and _handler_in_c(number) is None
        ]
        for number in ending:
            self._wrap(number)
        # A handler that C code set behind Python's back could not be put back: gevent and uWSGI do that.
        of_python = _handler_in_c(ending[0]) if ending else None
        for number, handler in handlers.items():
            if callable(handler) and of_python in (None, _handler_in_c(number)):
                self._wrap(number)

    def _wrap(self, number: int) -> None:
        disposition = _signal.getsignal(number)
        wrapper = partial(self._take, disposition)
        # Kept first, so that whatever interrupts this knows what is to be put back.
        self._wrapped[number] = wrapper, disposition
        _signal.signal(number, wrapper)

    def _take(self, disposition: Disposition, number: int, frame: FrameType | None) -> None:
        if self.holds_something and not self._is_needed():
            # Nobody is left who would release them, and a process must not become deaf to its signals.
            self.forget()
            _signal.raise_signal(number)
        elif callable(disposition):
            try:
                disposition(number, frame)
            except BaseException as error:  # noqa: BLE001  # raised when it is released
                self._raised.append(bare(error))
        else:
            self._noted.append(number)


def _handler_in_c(number: int) -> int | None:
    """Return the address of the function that handles a signal; None for none, 0 where that cannot be found out."""
    find = _finder_in_c()
    return 0 if find is None else find(number)


@lru_cache(maxsize=1)
def _finder_in_c() -> Callable[[int], int | None] | None:
    """Return the function of CPython that knows what handles a signal, or None where it cannot be called."""
    try:
        import ctypes

        prototype = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_int)
        return cast("Callable[[int], int | None]", prototype(("PyOS_getsig", ctypes.pythonapi)))
    except (ImportError, AttributeError):
        # Not every Python has ctypes, or CPython's functions in it.
        return None


def _now_right(disposition: Disposition) -> Disposition:
    """Return Python's own handler in place of that of an `asyncio.run` that has ended meanwhile.

    It puts Python's back itself if its own is still set, which it was not.
    """
    main_task = getattr(disposition, "keywords", {}).get("main_task")
    return _signal.default_int_handler if main_task is not None and main_task.done() else disposition
