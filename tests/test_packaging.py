"""What users get: the names, the version, the types, and what is installed and imported with them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import pytest

import favcrm

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
CORE = {"attrs", "cattrs", "httpx", "tenacity"}


def distributions(requirements: list[str]) -> set[str]:
    """The distributions that requirements name, with their extras."""
    return {re.split(r"[^\w.\[\],-]", requirement, maxsplit=1)[0].lower() for requirement in requirements}


def test_the_version_has_one_source() -> None:
    assert "version" in PROJECT["dynamic"]
    assert favcrm.__version__ == metadata.version("favcrm")


def test_the_types_are_shipped() -> None:
    assert resources.files("favcrm").joinpath("py.typed").is_file()


def test_type_checkers_and_programs_see_the_same_names() -> None:
    source = Path(favcrm.__file__).read_text("utf-8")
    for_type_checkers = {
        name: module for module, name, _ in re.findall(r"from favcrm\.(\S+) import (\w+) as (\2)\n", source)
    }
    assert for_type_checkers == vars(favcrm)["_MODULES"]
    rooms = set(re.findall(r"from favcrm import (\w+) as \1\n", source))
    assert rooms == set(vars(favcrm)["_ROOMS"])
    assert set(dir(favcrm)) == {*for_type_checkers, *rooms, "__version__"}


@pytest.mark.parametrize("name", ["codes", "errors", "sandbox", "stores", "transports"])
def test_a_room_is_there_after_importing_the_package_alone(name: str) -> None:
    script = f"import favcrm; print(favcrm.{name}.__name__)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert ran.stdout == f"favcrm.{name}\n"


@pytest.mark.parametrize("name", dir(favcrm))
def test_a_public_name_resolves_and_is_documented(name: str) -> None:
    public = getattr(favcrm, name)
    assert public is getattr(favcrm, name)
    if isinstance(public, type):
        assert public.__doc__


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(favcrm, "no_such_name")  # noqa: B009  # type checkers refuse the name too


def test_importing_loads_no_dependency() -> None:
    script = "import sys, json, favcrm; print(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    loaded = {module.partition(".")[0] for module in json.loads(ran.stdout)}
    assert not loaded & {"attr", "attrs", "cattrs", "httpx", "tenacity", "anyio", "asyncio", "ssl"}


def test_the_core_has_four_dependencies() -> None:
    assert distributions(PROJECT["dependencies"]) == CORE
    assert all(re.fullmatch(r"[a-z]+>=[\d.]+", requirement) for requirement in PROJECT["dependencies"])


def test_all_brings_every_extra() -> None:
    extras: dict[str, list[str]] = PROJECT["optional-dependencies"]
    (everything,) = extras["all"]
    named = set(re.findall(r"\w+", everything.partition("[")[2]))
    assert named == extras.keys() - {"all"}


def test_the_supported_pythons_are_told() -> None:
    classified = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert PROJECT["requires-python"] == f">={classified[0]}"
    assert f"SUPPORTED = {tuple(classified)!r}".replace("'", '"') in (ROOT / "noxfile.py").read_text("utf-8")


def test_ci_runs_the_command_of_the_readme() -> None:
    command = 'python3 -m venv .venv && .venv/bin/pip install "nox[uv]" && .venv/bin/nox'
    assert command in (ROOT / "README.md").read_text("utf-8").splitlines()
    assert f"step '{command}'\n" in (ROOT / ".ci/run").read_text("utf-8")
