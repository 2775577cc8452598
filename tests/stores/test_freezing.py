"""Freezers, such as PyInstaller, follow the import statements in the modules, whether they are run or not."""

from __future__ import annotations

import modulefinder
from pathlib import Path

import pytest

import favcrm
from favcrm import stores, transports

PACKAGES = ("boto3", "botocore", "dotenv", "hvac", "keyring", "secretstorage")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return the names of all modules that a program needs which uses one of the lazy names of the package."""
    directory = tmp_path_factory.mktemp("program")
    program = directory / "main.py"
    program.write_text("from favcrm import FavCRMProvisioner\n")
    # Alone in a directory, so that nothing outside of the package is looked into.
    (directory / "favcrm").symlink_to(Path(favcrm.__file__).parent)
    finder = modulefinder.ModuleFinder(path=[str(directory)])
    finder.run_script(str(program))
    return {*finder.modules, *finder.badmodules}


def test_every_lazy_name_is_seen(seen: set[str]) -> None:
    for package in (favcrm, stores, transports):
        assert {f"{package.__name__}.{module}" for module in vars(package)["_MODULES"].values()} <= seen


@pytest.mark.parametrize("package", PACKAGES)
def test_the_package_of_each_store_is_seen(seen: set[str], package: str) -> None:
    assert package in {name.partition(".")[0] for name in seen}


def test_no_module_is_imported_by_a_name_that_only_running_it_tells() -> None:
    for path in Path(stores.__file__).parent.glob("*.py"):
        if path.name != "__init__.py":
            assert "import_module" not in path.read_text(encoding="utf-8"), path.name
