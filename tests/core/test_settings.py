"""Arguments before the environment before the config file before defaults; a bad value names its source."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from favcrm import FavCRMClient, InvalidInputError, Secret, SecretRef
from favcrm.sandbox import Sandbox
from favcrm.settings import DEFAULT_ENDPOINT, Settings, config_path


@pytest.fixture
def key() -> str:
    return f"fav_mcp_{secrets.token_urlsafe(24)}"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "favcrm" / "config.toml"
    path.parent.mkdir()
    return path


def load(tmp_path: Path, /, **variables: str) -> Settings:
    return Settings.load(environment={"XDG_CONFIG_HOME": str(tmp_path), **variables})


def test_the_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings.endpoint == DEFAULT_ENDPOINT == "https://api.favcrm.io/mcp"
    assert settings.timeout == 30
    assert (settings.api_key, settings.organisation_id, settings.diagnosis_interval) == (None, None, None)


@pytest.mark.parametrize(
    ("variables", "endpoint"),
    [
        ({"FAVCRM_MCP_URL": "https://a.example/mcp"}, "https://a.example/mcp"),
        ({"FAVCRM_MCP_ENDPOINT": "https://b.example/mcp/v1"}, "https://b.example/mcp/v1"),
        ({"FAVCRM_API_BASE": "https://c.example"}, "https://c.example/mcp"),
        ({"FAVCRM_API_BASE": "https://c.example/"}, "https://c.example/mcp"),
        (
            {
                "FAVCRM_API_BASE": "https://c.example",
                "FAVCRM_MCP_ENDPOINT": "https://b.example",
                "FAVCRM_MCP_URL": "https://a.example",
            },
            "https://a.example",
        ),
    ],
)
def test_the_endpoint_from_the_environment(tmp_path: Path, variables: dict[str, str], endpoint: str) -> None:
    assert load(tmp_path, **variables).endpoint == endpoint


def test_the_key_from_the_environment(tmp_path: Path, key: str) -> None:
    assert load(tmp_path, FAVCRM_MCP_TOKEN=key).api_key == Secret(key)
    assert load(tmp_path, FAVCRM_MCP_TOKEN="x", FAVCRM_API_KEY=key).api_key == Secret(key)
    assert load(tmp_path, FAVCRM_API_KEY="").api_key is None


def test_times_are_milliseconds_in_the_environment(tmp_path: Path) -> None:
    settings = load(tmp_path, FAVCRM_TIMEOUT_MS="5000", FAVCRM_DIAG_INTERVAL="30000", FAVCRM_ORG_ID="org_1")
    assert (settings.timeout, settings.diagnosis_interval, settings.organisation_id) == (5, 30, "org_1")


def test_an_argument_counts_before_the_environment(tmp_path: Path, key: str) -> None:
    settings = Settings.load(
        endpoint="https://a.example/mcp",
        api_key=key,
        timeout=2,
        environment={
            "XDG_CONFIG_HOME": str(tmp_path),
            "FAVCRM_MCP_URL": "https://b.example",
            "FAVCRM_API_KEY": "other",
            "FAVCRM_TIMEOUT_MS": "nonsense",
        },
    )
    assert (settings.endpoint, settings.api_key, settings.timeout) == (
        "https://a.example/mcp",
        Secret(key),
        2,
    )


def test_the_config_file_of_the_vendor(tmp_path: Path, config: Path, key: str) -> None:
    config.write_text(f'api_key = "{key}"\nurl = "https://a.example/mcp"\nother = 3\n')
    settings = load(tmp_path)
    assert (settings.endpoint, settings.api_key) == ("https://a.example/mcp", Secret(key))


def test_the_files_key_goes_to_no_other_endpoint(tmp_path: Path, config: Path, key: str) -> None:
    config.write_text(f'api_key = "{key}"\n')
    assert load(tmp_path).api_key == Secret(key)
    assert load(tmp_path, FAVCRM_MCP_URL="https://elsewhere.example/mcp").api_key is None
    assert load(tmp_path, FAVCRM_MCP_URL="https://api.favcrm.io/mcp/v1").api_key == Secret(key)


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"FAVCRM_MCP_URL": "ftp://a.example"}, "FAVCRM_MCP_URL: must be an address"),
        ({"FAVCRM_MCP_URL": "http://a.example/mcp"}, "FAVCRM_MCP_URL: must begin with https://"),
        ({"FAVCRM_API_BASE": "https://me:pw@a.example"}, "FAVCRM_API_BASE: must not hold a user name"),
        ({"FAVCRM_TIMEOUT_MS": "soon"}, "FAVCRM_TIMEOUT_MS: must be a number of milliseconds"),
        ({"FAVCRM_TIMEOUT_MS": "-1"}, "FAVCRM_TIMEOUT_MS: must be a number of milliseconds"),
        ({"FAVCRM_DIAG_INTERVAL": "inf"}, "FAVCRM_DIAG_INTERVAL: must be a number of milliseconds"),
    ],
)
def test_a_bad_value_names_its_variable(tmp_path: Path, variables: dict[str, str], problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        load(tmp_path, **variables)


def test_a_bad_argument_is_named_and_all_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Settings.load(endpoint="nowhere", timeout=0, environment={"FAVCRM_DIAG_INTERVAL": "x"})
    assert [problem.field for problem in caught.value.problems] == [
        "endpoint",
        "timeout",
        "FAVCRM_DIAG_INTERVAL",
    ]


@pytest.mark.parametrize(
    "content", [b"not toml", b"\xff\xfe", b"x = " + b"9" * 5_000, b"x = " + b"[" * 5_000]
)
def test_a_config_file_that_cannot_be_read_is_named(tmp_path: Path, config: Path, content: bytes) -> None:
    config.write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"config\.toml"):
        load(tmp_path)


def test_a_bad_address_in_the_config_file_is_named(tmp_path: Path, config: Path) -> None:
    config.write_text('url = "nowhere"\n')
    with pytest.raises(InvalidInputError, match="url in the config file"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("platform", "variables", "path"),
    [
        ("linux", {"HOME": "/home/you"}, "/home/you/.config/favcrm/config.toml"),
        ("linux", {"HOME": "/home/you", "XDG_CONFIG_HOME": "/x"}, "/x/favcrm/config.toml"),
        ("linux", {}, None),
        (
            "darwin",
            {"HOME": "/Users/you"},
            "/Users/you/Library/Application Support/io.FavCRM.favcrm/config.toml",
        ),
        ("darwin", {}, None),
        ("win32", {"APPDATA": "/Roaming"}, "/Roaming/FavCRM/favcrm/config/config.toml"),
        ("win32", {}, None),
    ],
)
def test_where_the_vendor_keeps_its_file(platform: str, variables: dict[str, str], path: str | None) -> None:
    found = config_path(variables, platform)
    assert (None if found is None else found.as_posix()) == path


def test_without_a_home_there_is_no_file() -> None:
    assert Settings.load(environment={}).endpoint == DEFAULT_ENDPOINT


def test_settings_are_read_when_an_object_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAVCRM_TIMEOUT_MS", "nonsense")
    with pytest.raises(InvalidInputError, match="FAVCRM_TIMEOUT_MS"):
        FavCRMClient(transport=Sandbox().transport())
    monkeypatch.setenv("FAVCRM_TIMEOUT_MS", "1000")
    FavCRMClient(transport=Sandbox().transport()).close()


def test_a_transport_goes_with_nothing_that_it_would_ignore() -> None:
    with pytest.raises(InvalidInputError, match="transport: goes with none"):
        FavCRMClient("https://a.example/mcp", transport=Sandbox().transport())


def test_a_reference_needs_its_store() -> None:
    with pytest.raises(InvalidInputError, match="store must be given"):
        FavCRMClient(api_key=SecretRef("memory://favcrm/acme"))


def test_no_key_is_in_the_repr(tmp_path: Path, key: str) -> None:
    assert key not in repr(load(tmp_path, FAVCRM_API_KEY=key))


@pytest.mark.parametrize("with_transport", [False, True])
def test_the_files_key_goes_to_no_other_transport(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_transport: bool
) -> None:
    folder = tmp_path / "favcrm"
    folder.mkdir()
    (folder / "config.toml").write_text('api_key = "not-a-real-key-6789"\n')
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in (
        "FAVCRM_API_KEY",
        "FAVCRM_MCP_TOKEN",
        "FAVCRM_MCP_URL",
        "FAVCRM_API_BASE",
        "FAVCRM_MCP_ENDPOINT",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    with FavCRMClient(transport=Sandbox().transport() if with_transport else None) as crm:
        assert (crm._engine.keys.key is None) is with_transport
