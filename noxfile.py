"""What every change must pass. `nox` runs the tests, `nox -l` lists the sessions, `nox -- -k name` runs a part.

CI runs all that `.ci/run` names.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import nox

RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
SUPPORTED = ("3.11", "3.12", "3.13", "3.14")

nox.needs_version = ">=2025.10"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["tests"]
# A supported Python that this machine does not have is told as a skipped session; the running one is always there.
nox.options.error_on_missing_interpreters = False

nox.options.download_python = "never"
os.environ["UV_PYTHON_DOWNLOADS"] = "never"

# Otherwise `coverage run -m` puts the working tree on the import path, before the installed package.
os.environ["PYTHONSAFEPATH"] = "1"
# pyenv puts a shim for every Python on PATH, and a shim answers only for the version that is switched on.
PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], *map(str, PYENV.glob("versions/*/bin"))])

# Much of the tests' time is spent waiting, for processes of their own among other things.
PYTEST = ("pytest", f"--numprocesses={2 * (os.cpu_count() or 1)}", "--dist=loadfile")
# These need a Secret Service, which has a session of its own.
KEYRING_TESTS = "tests/stores/test_keyring_secret_service.py"
# These need LangGraph, which has a session of its own.
WORKFLOW_TESTS = "tests/workflows"
# These need servers and clients of other people's, which have a session of their own.
PEER_TESTS = "tests/peers"
ELSEWHERE = tuple(f"--ignore={tests}" for tests in (KEYRING_TESTS, WORKFLOW_TESTS, PEER_TESTS))

# Servers and clients of other people's, each with a venv or a folder of its own.
PEERS = {
    "mcp-2.3": ("mcp>=2.3,<2.4", "uvicorn"),
    "mcp-1.28": ("mcp==1.28.*", "uvicorn"),
    # It reaches into pydantic, and finds something else there since 2.12.
    "mcp-1.12": ("mcp==1.12.*", "uvicorn", "pydantic<2.12"),
    "fastmcp-4": ("fastmcp>=4,<5",),
}
# Their clients are sessions to reach the tools through, too.
OLDER_SESSIONS = ("mcp-1.28", "fastmcp-4")
PEERS_OF_NODE = {
    "typescript": (
        "@modelcontextprotocol/sdk@^1.32",
        "@modelcontextprotocol/server@^2.4",
        "@modelcontextprotocol/node@^2.1",
    ),
    "inspector": ("@modelcontextprotocol/inspector@^2.12",),
}

# What the demo says where the sandbox cannot be served.
IN_PROCESS = "in this process"

CORE: list[str] = nox.project.load_toml("pyproject.toml")["project"]["dependencies"]


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests on the installed package; they must cover every branch."""
    session.install(".[all]", "--group=test")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", *PYTEST, *ELSEWHERE, *session.posargs)
    session.run("coverage", "combine", "--quiet")
    # With arguments it is a part of the tests, which covers a part of the package.
    session.run("coverage", "report", *(["--fail-under=0"] if session.posargs else []))


@nox.session(python=[version for version in SUPPORTED if version != RUNNING], default=False)
def other(session: nox.Session) -> None:
    """Run the tests on another Python, but for those of the command, which are slow for their many processes."""
    session.install(".[all]", "--group=test")
    session.run(*PYTEST, *ELSEWHERE, "--ignore=tests/cli", *session.posargs)


@nox.session(default=False)
def lowest(session: nox.Session) -> None:
    """Run the tests with the oldest core dependencies that are allowed."""
    oldest = [requirement.replace(">=", "==") for requirement in CORE]
    session.install(".[all]", *oldest, "--group=test")
    # What is slow for its many processes meets the core dependencies where the other tests do.
    slow = ("cli", "codes", "crash", "stores")
    session.run(*PYTEST, *ELSEWHERE, *(f"--ignore=tests/{part}" for part in slow), *session.posargs)


@nox.session(default=False)
def lint(session: nox.Session) -> None:
    """Check style, the order of imports between the parts, and spelling."""
    session.install("--group=lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check", "--diff")
    session.run("lint-imports")
    session.run("codespell")


@nox.session(default=False)
def types(session: nox.Session) -> None:
    """Check types with mypy and pyright, and that what users see is typed in full."""
    session.install(".[all]", "--group=types")
    session.run("mypy")
    session.run("pyright")
    session.run("pyright", "--verifytypes=favcrm", "--ignoreexternal")


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """Build the documentation, where a warning is an error, and run every example in it and in the README."""
    session.install(".[all]", "--group=docs")
    session.run("sphinx-build", "--fail-on-warning", "--nitpicky", "--fresh-env", "docs", "docs/_build")
    session.run("pytest", "tests/test_documentation.py")


@nox.session(default=False)
def package(session: nox.Session) -> None:
    """Build the package, look into the wheel, and use it where nothing but the core is installed."""
    session.install("--group=package")
    work = Path(session.create_tmp())
    shutil.rmtree(work, ignore_errors=True)
    session.run("python", "-m", "build", f"--outdir={work}")
    (wheel,) = map(str, work.glob("*.whl"))
    session.run("check-wheel-contents", wheel)

    clean = work / "clean"
    session.run("python", "-m", "venv", str(clean))
    python = next(str(path) for path in clean.glob("[bS]*/python*") if path.is_file())

    def run(*arguments: str) -> str:
        return str(session.run(python, *arguments, external=True, silent=True))

    run("-m", "pip", "install", *CORE)
    brought = run("-m", "pip", "freeze")
    run("-m", "pip", "install", wheel)
    added = set(run("-m", "pip", "freeze").splitlines()) - set(brought.splitlines())
    if not all(line.startswith("favcrm @") for line in added):
        session.error(f"The core brings more than its dependencies: {added}")
    session.log(f"Installed with the core alone: {brought.split()}")
    session.run(python, "-W", "error", "tests/core_alone.py", external=True, env={"PYTHONPATH": "tests"})

    run("-m", "pip", "install", f"{wheel}[cli]")
    if IN_PROCESS not in run("-m", "favcrm", "demo"):
        session.error("With the extra cli alone, the demo does not run in process")


@nox.session(default=False)
def secretservice(session: nox.Session) -> None:
    """Store keys in a real Secret Service: unlocked, locked, without a collection, absent."""
    need(session, ("gnome-keyring-daemon", "dbus-run-session"), ("dbus", "gnome-keyring"))
    session.install(".[all]", "--group=test")
    session.run("pytest", KEYRING_TESTS, *session.posargs)


@nox.session(default=False)
def dovecot(session: nox.Session) -> None:
    """Read codes from a mailbox of a real dovecot; elsewhere its cases are left out where there is none."""
    need(session, ("dovecot",), ("dovecot-imapd",))
    session.install(".[all]", "--group=test")
    session.run(
        "pytest", "--numprocesses=auto", "tests/codes/test_mailbox.py", "-k=dovecot", *session.posargs
    )


def need(session: nox.Session, programs: tuple[str, ...], packages: tuple[str, ...]) -> None:
    """Install Debian's packages in CI; elsewhere say which are missing."""
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])
    missing = [program for program in programs if shutil.which(program, path=path) is None]
    if missing and os.environ.get("CI"):
        session.run("apt-get", "update", external=True)
        session.run("apt-get", "install", "--yes", "--no-install-recommends", *packages, external=True)
    elif missing:
        session.error(f"{', '.join(missing)} is missing. Install: {' '.join(packages)}")


@nox.session(default=False)
def langgraph(session: nox.Session) -> None:
    """Run the how-to about LangGraph: each step in a process of its own."""
    session.install(".[all]", "--group=langgraph")
    session.run("pytest", "--numprocesses=auto", WORKFLOW_TESTS, *session.posargs)


@nox.session(default=False)
def conformance(session: nox.Session) -> None:
    """Run the official client scenarios, on every version of MCP they exist for, sync and async."""
    session.install(".", "--group=conformance")
    # Both versions of the harness stay in this folder; each is asked for by its exact version.
    session.run("python", "tests/conformance/run.py", session.create_tmp(), *session.posargs)


@nox.session(default=False)
def peers(session: nox.Session) -> None:
    """Use servers built on other people's code, let other people's clients use the sandbox, and count requests."""
    session.install(".[all]", "--group=peers")
    work = Path(session.create_tmp())
    for name, requirements in PEERS.items():
        session.run("uv", "venv", "--quiet", "--clear", f"--python={sys.executable}", str(work / name))
        session.run("uv", "pip", "install", "--quiet", f"--python={work / name}", *requirements)
    for name in OLDER_SESSIONS:
        needed = (".", "pytest>=9", "anyio[trio]>=4.9")
        session.run("uv", "pip", "install", "--quiet", f"--python={work / name}", *needed)
        python = next(str(path) for path in (work / name).glob("[bS]*/python*") if path.is_file())
        # The fixtures of the other tests need mcp 2.
        tests = f"{PEER_TESTS}/test_session_transport.py"
        session.run(python, "-m", "pytest", "--noconftest", tests, external=True)
    for name, packages in PEERS_OF_NODE.items():
        shutil.rmtree(work / name, ignore_errors=True)
        (work / name).mkdir()
        quiet = ("--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts")
        session.run("npm", "install", *quiet, f"--prefix={work / name}", *packages)
    # JavaScript looks for packages beside the file that imports them.
    for script in Path("tests/peers/servers").glob("*.mjs"):
        shutil.copy(script, work / "typescript")
    told = {"FAVCRM_PEERS": str(work.resolve())}
    session.run("pytest", "--numprocesses=auto", "--dist=loadgroup", PEER_TESTS, *session.posargs, env=told)
    if not session.posargs:
        page = "docs/explanation/eras.md"
        session.run("python", "-m", "peers.round_trips", page, env={**told, "PYTHONPATH": "tests"})


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure speed and size, and print the table."""
    session.install(".")
    # The official client goes elsewhere: it brings click, with which `import httpx` takes longer.
    other = Path(session.create_tmp()) / "mcp"
    session.run("python", "-m", "venv", "--clear", str(other))
    python = str(next(other.glob("[bS]*/python*")))
    extras = nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"]
    (mcp,) = (entry for entry in extras["sandbox"] if entry.startswith("mcp"))
    session.run(python, "-m", "pip", "install", "--quiet", mcp, external=True)
    session.run(
        "python", "-m", "benchmarks.run", f"--mcp={python}", *session.posargs, env={"PYTHONPATH": "tests"}
    )
