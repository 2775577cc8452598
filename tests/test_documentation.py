"""Every example in the README, in the documentation and in the docstrings runs as it stands.

The examples of a page run in their order and share their names. Their FavCRM is a sandbox on loopback, named
`sandbox`, and a person at the keyboard types the code from its last mail.
"""

from __future__ import annotations

import doctest
import os
import pkgutil
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sybil import Sybil
from sybil.parsers.myst import PythonCodeBlockParser, SkipParser

import favcrm
from favcrm.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MODULES = [module.name for module in pkgutil.walk_packages(favcrm.__path__, "favcrm.")]
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
