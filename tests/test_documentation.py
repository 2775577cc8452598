"""Every example in the README, in the documentation and in the docstrings runs as it stands.

The examples of a page run in their order and share their names. Their FavCRM is a sandbox on loopback, named
`sandbox`, and a person at the keyboard types the code from its last mail.

What the page for contributors says of the package is compared with the package.
"""

from __future__ import annotations

import doctest
import os
import pkgutil
import re
import traceback
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest
from sybil import Sybil
from sybil.parsers.myst import PythonCodeBlockParser, SkipParser

import favcrm
from favcrm import AsyncFavCRMProvisioner, FavCRMProvisioner, Registration
from favcrm.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MODULES = [module.name for module in pkgutil.walk_packages(favcrm.__path__, "favcrm.")]
MAP = (ROOT / "docs" / "contributing.md").read_text()
OWNER = Registration(email="you@example.com", organisation_name="Stretch + Breathe")
SYBIL = Sybil(parsers=[PythonCodeBlockParser(doctest_optionflags=doctest.ELLIPSIS), SkipParser()])


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An example finds no settings of whoever runs the tests, and leaves no file in the project."""
    for variable in [name for name in os.environ if name.startswith("FAVCRM_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Where examples without an address go. Every code that it mails is the one that is written in them."""

    sandbox = Sandbox()

    def the_written_code(_: int) -> int:
        return 123456

    def the_mailed_code(_: object = "") -> str | None:
        return sandbox.inbox[-1].code

    monkeypatch.setattr("secrets.randbelow", the_written_code)
    monkeypatch.setattr("getpass.getpass", the_mailed_code)
    with sandbox.serve() as server:
        monkeypatch.setenv("FAVCRM_MCP_URL", server.url)
        yield sandbox


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_examples_of_a_page(page: Path, sandbox: Sandbox) -> None:
    document = SYBIL.parse(page)
    document.namespace["sandbox"] = sandbox
    for example in document.examples():
        example.evaluate()


def test_the_example_of_the_readme_can_be_run_twice(sandbox: Sandbox) -> None:
    for _ in range(2):
        for example in SYBIL.parse(ROOT / "README.md").examples():
            example.evaluate()
    assert len(sandbox.inbox) == 1


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module(name: str) -> None:
    module = import_module(name)
    public = {name: getattr(favcrm, name) for name in dir(favcrm)}
    assert doctest.testmod(module, extraglobs=public, optionflags=doctest.ELLIPSIS).failed == 0


# The page for contributors


def test_every_path_on_the_page_for_contributors_exists() -> None:
    named = re.findall(r"`((?:favcrm|tests|docs|\.ci)/[^`\s]*|[A-Za-z]+\.(?:md|toml)|noxfile\.py)`", MAP)
    assert len(named) > 50
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_page_for_contributors_names_every_folder_and_module() -> None:
    package = ROOT / "favcrm"
    folders = {f"{init.parent.relative_to(ROOT)}/" for init in package.rglob("__init__.py")} - {"favcrm/"}
    modules = {path.name for path in package.rglob("*.py")}
    named = {path.rpartition("/")[2] for path in re.findall(r"`([\w/]+\.py)`", MAP)}
    assert sorted(path for path in folders if f"`{path}`" not in MAP) == []
    assert sorted(modules - named) == []
    tests = {path.name for path in (ROOT / "tests").rglob("*.py")}
    assert sorted(named - modules - tests - {"noxfile.py"}) == []


def files_on_the_way(request: Callable[[httpx.MockTransport], None]) -> list[str]:
    """Return the files of this package between a call and its HTTP request, each once."""
    package = Path(favcrm.__file__).parent
    way: dict[str, None] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        files = [Path(frame.filename) for frame in traceback.extract_stack()]
        way.update({f"favcrm/{path.relative_to(package)}": None for path in files if package in path.parents})
        told = Sandbox().handle(request.content, key=None, ip="127.0.0.1")
        return httpx.Response(told.status, headers=told.headers, content=told.body)

    request(httpx.MockTransport(answer))
    return list(way)


def blocking_request(transport: httpx.BaseTransport) -> None:
    with (
        httpx.Client(transport=transport) as http_client,
        FavCRMProvisioner(http_client=http_client) as favcrm,
    ):
        favcrm.initiate(OWNER)


def async_request(transport: httpx.AsyncBaseTransport) -> None:
    async def request() -> None:
        async with (
            httpx.AsyncClient(transport=transport) as http_client,
            AsyncFavCRMProvisioner(http_client=http_client) as favcrm,
        ):
            await favcrm.initiate(OWNER)

    anyio.run(request)


def test_a_call_travels_as_the_page_for_contributors_says() -> None:
    way = MAP.partition("## How a call travels")[2]
    assert files_on_the_way(blocking_request) == re.findall(r"^\d+\. `(favcrm/[^`]+)` ", way, re.MULTILINE)
    (async_way,) = re.findall(
        r"^The async side goes through these files: .*?\n\n", way, re.MULTILINE | re.DOTALL
    )
    assert files_on_the_way(async_request) == re.findall(r"`(favcrm/[^`]+)`", async_way)
