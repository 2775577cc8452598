"""Listens to everything that comes out of a flow, and searches it for what must never be seen."""

from __future__ import annotations

import copy
import io
import json
import logging
import os
import pickle
import pprint
import re
import sys
import threading
import traceback
import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs
from rich.pretty import pretty_repr
from rich.traceback import Traceback

from favcrm import Secret
from favcrm.errors import FavCRMError

TESTS = str(Path(__file__).parent.parent)
DEEPEST = 6
SERVER = "favcrm-sandbox"
"""The thread of the sandbox's server, which logs what a server logs."""


class Search:
    """What came out, and what it is searched for."""

    def __init__(self) -> None:
        self.hidden: dict[str, re.Pattern[bytes]] = {}
        self._out: list[tuple[str, bytes]] = []

    # What must not be seen

    def hide(self, what: str, value: str) -> None:
        """Search for a value from now on, as it is and as it stands in an address."""
        forms = sorted({value, quote(value, safe="")})
        if value.startswith("fav_mcp_"):
            # Half a key is too much too; the last four characters are the fingerprint.
            forms = [value[8:20], value[-12:]]
        if what == "token":
            # The same goes for what an invitation says.
            forms = [value[7:17], value[-10:]]
        alternatives = b"|".join(re.escape(form.encode()) for form in forms)
        # A code is six digits, which also come by chance in numbers with more of them.
        pattern = rb"(?<![0-9A-Za-z.])(?:%b)(?![0-9A-Za-z])" if what == "code" else rb"(?:%b)"
        compiled = re.compile(pattern % alternatives)
        # Once is enough: a flow gives out again what it gave out before.
        if compiled not in self.hidden.values():
            self.hidden[f"{what} {len(self.hidden)}"] = compiled

    def check(self) -> None:
        """Fail where something that is hidden came out."""
        found = [
            f"{what.split()[0]} in {label}: ...{out[max(0, hit.start() - 60) : hit.start()]!r}"
            for what, pattern in self.hidden.items()
            for label, out in self._out
            if (hit := pattern.search(out))
        ]
        assert not found, "\n".join(dict.fromkeys(found))

    @property
    def searched(self) -> int:
        """How many bytes came out."""
        return sum(len(out) for _, out in self._out)

    # What comes out

    def add(self, label: str, out: str | bytes) -> None:
        """Note something that came out."""
        self._out.append((label, out if isinstance(out, bytes) else out.encode("utf-8", "backslashreplace")))

    def take(self, label: str, value: object) -> None:
        """Note all that can be made of an object that a flow returned or told."""
        if isinstance(value, BaseException):
            self._take_error(label, value)
        for shown in (value, copy.copy(value), copy.deepcopy(value) if _is_data(value) else value):
            self._show(label, shown)
        if attrs.has(type(value)):
            data: Any = value
            told = attrs.asdict(data)
            # A masked email may be in this one place, for a person to see.
            told.pop("masked_email", None)
            self._show(f"{label} as a dict", told)
            self.add(f"{label} as JSON", json.dumps(told, default=str))
        if not isinstance(value, BaseException) and not getattr(value, "masked_email", ""):
            self.add(f"what is in {label}", repr(inside(value)))
        self._pickle(label, value)

    def _show(self, label: str, value: object) -> None:
        self.add(f"repr of {label}", repr(value))
        self.add(f"str of {label}", f"{value}{value!s}")
        self.add(f"{label}, printed", pprint.pformat(value))
        self.add(f"{label}, printed by rich", pretty_repr(value, max_width=10_000))

    def _pickle(self, label: str, value: object) -> None:
        for protocol in (0, pickle.HIGHEST_PROTOCOL):
            try:
                self.add(f"pickle of {label}", pickle.dumps(value, protocol))
            except Exception as refused:  # noqa: BLE001  # whatever it says, it must say it without a secret
                self.add(f"refusal to pickle {label}", repr(refused))

    def _take_error(self, label: str, error: BaseException) -> None:
        for each in _chain(error):
            name = f"{label} ({type(each).__name__})"
            self.add(f"message of {name}", str(each))
            self.add(f"args of {name}", repr(each.args))
            self.add(f"notes of {name}", repr(getattr(each, "__notes__", [])))
            self.add(f"attributes of {name}", pretty_repr(vars(each)))
            self._take_frames(name, each)
        self.add(f"traceback of {label}", "".join(traceback.format_exception(error)))

    def _take_frames(self, name: str, error: BaseException) -> None:
        for entered, _ in traceback.walk_tb(error.__traceback__):
            if not entered.f_code.co_filename.startswith(TESTS):
                # As a debugger does, and some who report errors: not what an object shows, but what is in it.
                for local, value in entered.f_locals.items():
                    self.add(f"locals of {entered.f_code.co_name} in {name}, in {local}", repr(inside(value)))
        rendered = traceback.TracebackException.from_exception(error, capture_locals=True)
        for frame in rendered.stack:
            if not frame.filename.startswith(TESTS):
                self.add(f"locals of {frame.name} in {name}", repr(frame.locals))
        trace = Traceback.extract(
            type(error),
            error,
            error.__traceback__,
            show_locals=True,
            locals_max_length=100_000,
            locals_max_string=100_000,
            locals_hide_dunder=False,
            locals_hide_sunder=False,
        )
        for each in trace.stacks[0].frames if trace.stacks else []:
            if not each.filename.startswith(TESTS):
                for local, node in (each.locals or {}).items():
                    self.add(f"rich's local {local} of {each.name} in {name}", f"{node}")

    def files(self, directory: Path, *, but: Iterable[str] = ()) -> None:
        """Note what is in the files below a directory."""
        for path in directory.rglob("*"):
            if path.is_file() and path.name not in but:
                self.add(f"file {path.name}", path.read_bytes())

    def process(self) -> None:
        """Note what the process list shows."""
        for name in ("cmdline", "environ"):
            with suppress(OSError):
                self.add(f"/proc/self/{name}", Path(f"/proc/self/{name}").read_bytes())
        self.add("the environment", repr(dict(os.environ)))

    @contextmanager
    def listening(self) -> Generator[None]:
        """Listen to the log, the warnings, the standard streams, and what is raised where nobody catches it."""
        root, handler = logging.getLogger(), _Handler(self)
        level, hooks = root.level, (threading.excepthook, sys.unraisablehook)
        streams = sys.stdout, sys.stderr
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            root.addHandler(handler)
            root.setLevel(logging.DEBUG)
            threading.excepthook = lambda told: self.take("uncaught in a thread", told.exc_value)
            sys.unraisablehook = lambda told: self.take("unraisable", told.exc_value)
            sys.stdout, sys.stderr = captured = io.StringIO(), io.StringIO()
            try:
                yield
            finally:
                sys.stdout, sys.stderr = streams
                threading.excepthook, sys.unraisablehook = hooks
                root.setLevel(level)
                root.removeHandler(handler)
        for warning in warned:
            self.add("a warning", repr(warning))
            self.add("a warning", str(warning.message))
        for name, stream in zip(("stdout", "stderr"), captured, strict=True):
            self.add(name, stream.getvalue())


class _Handler(logging.Handler):
    def __init__(self, search: Search) -> None:
        super().__init__(logging.DEBUG)
        self._search = search

    def emit(self, record: logging.LogRecord) -> None:
        if record.threadName == SERVER:
            return
        self._search.add(f"log {record.name}", self.format(record))
        self._search.add(f"log record of {record.name}", pretty_repr(record.__dict__, max_width=10_000))
        self._search.add(f"log record of {record.name}", repr(record.__dict__))
        if record.exc_info and record.exc_info[1]:
            self._search.take(f"error in the log {record.name}", record.exc_info[1])


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Every error that hangs on one, also where ``from None`` keeps it from being shown."""
    waiting, seen = [error], set[int]()
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [more for more in (each.__cause__, each.__context__) if more is not None]
        if isinstance(each, BaseExceptionGroup):
            group: BaseExceptionGroup[BaseException] = each
            waiting += group.exceptions


def inside(value: object, depth: int = 0) -> object:
    """Return what is in an object of the package, and in what that is made of; a `Secret` is what it shows."""
    if depth > DEEPEST or isinstance(value, Secret | type):
        return repr(value)
    if isinstance(value, Mapping):
        mapping: Mapping[object, object] = value
        return {repr(name): inside(each, depth + 1) for name, each in mapping.items()}
    if isinstance(value, list | tuple | set | frozenset):
        members: Iterable[object] = value
        return [inside(each, depth + 1) for each in members]
    if isinstance(value, partial):
        return [inside(each, depth + 1) for each in (value.func, value.args, value.keywords)]
    if not type(value).__module__.startswith("favcrm."):
        return repr(value)
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    held = {name: getattr(value, name, None) for name in slots if not name.startswith("__")}
    return repr(value), inside(held | getattr(value, "__dict__", {}), depth + 1)


def _is_data(value: object) -> bool:
    return attrs.has(type(value)) or isinstance(value, Secret | FavCRMError | str | tuple | dict)
