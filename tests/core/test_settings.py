"""Arguments before the environment before the config file before defaults; a bad value names its source."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from stores.machine import as_an_ordinary_user, read_only_directory

from favcrm import BearerAuth, FavCRMClient, InvalidInputError, Secret, SecretRef
from favcrm.sandbox import Sandbox
from favcrm.settings import (
    DEFAULT_ENDPOINT,
    ENDPOINT_VARIABLES,
    KEY_VARIABLES,
    Settings,
    check_key,
    config_path,
    is_filled_in,
)
from favcrm.stores import MemoryStore


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


def test_without_arguments_and_variables_the_defaults_count(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings.endpoint == DEFAULT_ENDPOINT == "https://api.favcrm.io/mcp"
    assert settings.timeout == 30
    assert (settings.api_key, settings.organisation_id, settings.diagnosis_interval) == (None, None, None)


def test_the_profile_comes_from_the_argument_then_from_the_environment(tmp_path: Path) -> None:
    assert load(tmp_path).profile is None
    assert load(tmp_path, FAVCRM_MCP_PROFILE="compact").profile == "compact"
    assert load(tmp_path, FAVCRM_MCP_PROFILE="${FAVCRM_MCP_PROFILE}").profile is None
    assert Settings.load(profile="full", environment={"FAVCRM_MCP_PROFILE": "compact"}).profile == "full"


def test_a_profile_that_there_is_not_is_refused_by_the_name_of_its_source(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidInputError,
        match=r"The environment .* FAVCRM_MCP_PROFILE: must be one of compact",
    ):
        load(tmp_path, FAVCRM_MCP_PROFILE="platform")
    with pytest.raises(InvalidInputError, match="profile: must be one of compact, full"):
        FavCRMClient(profile="platform")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("variables", "endpoint"),
    [
        ({"FAVCRM_MCP_URL": "https://a.example/mcp"}, "https://a.example/mcp"),
        ({"FAVCRM_MCP_ENDPOINT": "https://b.example/mcp/v1"}, "https://b.example/mcp/v1"),
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


def test_the_files_key_goes_to_no_other_endpoint(tmp_path: Path, config: Path, key: str) -> None:
    config.write_text(f'api_key = "{key}"\n')
    assert load(tmp_path).api_key == Secret(key)
    settings = load(tmp_path, FAVCRM_MCP_URL="https://elsewhere.example/mcp")
    assert settings.api_key is None
    assert settings.missing_key.startswith(f"The key in the file {config} is for another address")
    assert load(tmp_path, FAVCRM_MCP_URL="https://api.favcrm.io/mcp/v1").api_key == Secret(key)


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"FAVCRM_MCP_URL": "ftp://a.example"}, "FAVCRM_MCP_URL: must be an address"),
        ({"FAVCRM_MCP_URL": "http://a.example/mcp"}, "FAVCRM_MCP_URL: must begin with https://"),
        ({"FAVCRM_API_BASE": "https://me:pw@a.example"}, "FAVCRM_API_BASE: must not hold a user name"),
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


BROKEN = [
    (b"not toml", "Line 1 is not TOML"),
    (b'url = "https://a.example/mcp"\r\n\r\napi_key = ', "Line 3 is not TOML"),
    (b"\xfe\xff\0u", "It is UTF-16 and must be UTF-8"),
    (b"x = 1\ny = '\xff'", "Line 2 is not UTF-8"),
    (b"x = " + b"[" * 5_000, "It is not TOML"),
]


@pytest.mark.parametrize(("content", "problem"), BROKEN)
def test_a_config_file_that_cannot_be_read_is_named_with_its_line(
    tmp_path: Path, config: Path, content: bytes, problem: str
) -> None:
    config.write_bytes(content)
    with pytest.raises(InvalidInputError) as caught:
        load(tmp_path)
    assert [tuple(told) for told in caught.value.problems] == [(str(config), problem)]


def test_a_config_file_of_which_nothing_is_needed_is_not_read(
    tmp_path: Path, config: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_bytes(b"not toml")
    url = "https://a.example/mcp"
    assert load(tmp_path, FAVCRM_MCP_URL=url, FAVCRM_API_KEY=key).endpoint == url
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    store = MemoryStore()
    FavCRMClient(url, api_key=key).close()
    FavCRMClient(url, api_key=SecretRef("memory://favcrm/acme"), store=store).close()
    FavCRMClient(transport=Sandbox().transport()).close()
    BearerAuth(key, endpoint=url)
    with pytest.raises(InvalidInputError, match="Line 1 is not TOML"):
        FavCRMClient(api_key=key)
    with pytest.raises(InvalidInputError, match="Line 1 is not TOML"):
        FavCRMClient(url)


@pytest.mark.parametrize("place", ["/dev/null", "file", "closed", "loop"])
def test_a_home_where_nothing_can_be_is_one_without_a_file(place: str) -> None:
    with read_only_directory() as directory:
        (directory / "file").touch()
        (directory / "loop").symlink_to("loop")
        (directory / "closed").mkdir()
        (directory / "closed").chmod(0o700)
        home = str(directory / place)
        with as_an_ordinary_user():
            for variables in ({"HOME": home}, {"XDG_CONFIG_HOME": home}):
                settings = Settings.load(environment=variables)
                assert (settings.endpoint, settings.api_key) == (DEFAULT_ENDPOINT, None)


def test_a_config_file_that_is_there_and_may_not_be_read_is_named() -> None:
    with read_only_directory() as directory:
        file = directory / "favcrm" / "config.toml"
        file.parent.mkdir()
        file.touch()
        file.chmod(0)
        with as_an_ordinary_user():
            if not os.access(file, os.R_OK, effective_ids=True):
                with pytest.raises(
                    InvalidInputError, match=r"config\.toml: cannot be read: Permission denied"
                ):
                    load(directory)
        file.unlink()
        os.mkfifo(file)
        with pytest.raises(InvalidInputError, match=r"cannot be read: It is not a regular file"):
            load(directory)


def test_a_config_file_with_a_byte_order_mark_is_read(tmp_path: Path, config: Path, key: str) -> None:
    config.write_bytes(b'\xef\xbb\xbfurl = "https://a.example/mcp"\r\napi_key = "' + key.encode() + b'"\r\n')
    settings = load(tmp_path)
    assert (settings.endpoint, settings.api_key) == ("https://a.example/mcp", Secret(key))


PLACEHOLDERS = [
    "${FAVCRM_API_KEY}",
    "$FAVCRM_API_KEY",
    "$(FAVCRM_API_KEY)",
    "${{ secrets.FAVCRM_API_KEY }}",
    "{env:FAVCRM_API_KEY}",
    "${env:FAVCRM_API_KEY}",
    "$env:FAVCRM_API_KEY",
    "#{FAVCRM_API_KEY}#",
    "%FAVCRM_API_KEY%",
    "<your key>",
    "[your api key]",
    "your-favcrm-api-key",
    "Paste your key here",
    "fav_mcp_your_key_here",
    f"fav_mcp_{'x' * 16}",  # put together here, so that no search for keys stops at it
    "fav_mcp_...",
    "fav_mcp_\u2026",
    "fav_mcp_***",
    "fav_mcp_",
    "FAVCRM_API_KEY",
    "changeme",
    "None",
    "# from the portal",
    "'${FAVCRM_API_KEY}'",
]


@pytest.mark.parametrize("value", [*PLACEHOLDERS, "", "  ", "''", " ${FAVCRM_API_KEY}\n"])
def test_a_placeholder_is_no_key_and_its_variable_is_named(
    tmp_path: Path, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = load(tmp_path, FAVCRM_MCP_TOKEN=value)
    assert (settings.api_key, settings.key_source) == (None, "")
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == (
        "the variable FAVCRM_MCP_TOKEN is blank or was not filled in, so it is not used"
    )


def test_behind_a_placeholder_the_next_source_is_looked_at(tmp_path: Path, config: Path, key: str) -> None:
    placeholder = "${FAVCRM_API_KEY}"
    settings = load(tmp_path, FAVCRM_API_KEY=placeholder, FAVCRM_MCP_TOKEN=key)
    assert (settings.api_key, settings.key_source) == (Secret(key), "the variable FAVCRM_MCP_TOKEN")
    config.write_text(f'api_key = "{key}"\n')
    assert load(tmp_path, FAVCRM_API_KEY=placeholder).api_key == Secret(key)


def test_a_placeholder_in_the_file_is_no_key(
    tmp_path: Path, config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config.write_text('api_key = "<your key>"\n')
    assert load(tmp_path).api_key is None
    assert [record.getMessage() for record in caplog.records] == [
        f"api_key in {config} holds no value, so it is not used"
    ]


@pytest.mark.parametrize("value", PLACEHOLDERS)
def test_a_placeholder_is_refused_where_a_key_is_given(value: str) -> None:
    with pytest.raises(InvalidInputError, match=r"api_key: (is a placeholder|is empty, or holds)"):
        check_key(Secret(value))


@pytest.mark.parametrize("kind", [str, Secret])
def test_a_placeholder_as_an_argument_is_refused(kind: Callable[[str], str | Secret]) -> None:
    with pytest.raises(InvalidInputError, match="api_key: is a placeholder: nothing was put in its place"):
        FavCRMClient(api_key=kind("${FAVCRM_API_KEY}"))


@given(st.text("abcdefXYZ0123456789-_", min_size=16), st.sampled_from(["fav_mcp_", ""]))
def test_what_may_be_a_key_is_taken_for_no_placeholder(text: str, prefix: str) -> None:
    assume(set(text.casefold()) - set("x_-"))
    assert is_filled_in(f"{prefix}{text}")


@pytest.mark.parametrize("value", ["${FAVCRM_URL}", "https://${HOST}/mcp", "https://<host>/mcp", "%URL%"])
def test_a_placeholder_for_the_endpoint_names_its_variable(tmp_path: Path, value: str) -> None:
    with pytest.raises(InvalidInputError, match="FAVCRM_API_BASE: is a placeholder: nothing was put in"):
        load(tmp_path, FAVCRM_API_BASE=value)


def test_a_blank_variable_for_the_endpoint_is_none(tmp_path: Path) -> None:
    settings = load(tmp_path, FAVCRM_MCP_URL=" ", FAVCRM_API_BASE="https://c.example")
    assert settings.endpoint == "https://c.example/mcp"


def test_a_placeholder_for_the_organisation_is_none(tmp_path: Path) -> None:
    assert load(tmp_path, FAVCRM_ORG_ID="${FAVCRM_ORG_ID}").organisation_id is None


def test_the_sources_of_the_key_and_the_endpoint_are_told(tmp_path: Path, config: Path, key: str) -> None:
    def sources(settings: Settings) -> tuple[str, str]:
        return settings.endpoint_source, settings.key_source

    assert sources(load(tmp_path)) == ("the default", "")
    config.write_text(f'api_key = "{key}"\n')
    assert sources(load(tmp_path)) == ("the default", f"the file {config}")
    config.write_text(f'api_key = "{key}"\nurl = "https://a.example/mcp"\n')
    assert sources(load(tmp_path)) == (f"the file {config}", f"the file {config}")
    assert sources(load(tmp_path, FAVCRM_API_BASE="https://a.example", FAVCRM_MCP_TOKEN=key)) == (
        "the variable FAVCRM_API_BASE",
        "the variable FAVCRM_MCP_TOKEN",
    )
    assert sources(Settings.load(endpoint="https://a.example", api_key=key, environment={})) == (
        "the argument endpoint",
        "the argument api_key",
    )


def test_a_bad_address_in_the_config_file_is_named(tmp_path: Path, config: Path) -> None:
    config.write_text('url = "nowhere"\n')
    with pytest.raises(InvalidInputError, match=r"url in .*config\.toml: must be an address"):
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
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch, with_transport: bool
) -> None:
    config.write_text('api_key = "not-a-real-key-6789"\n')
    for name in (*KEY_VARIABLES, *ENDPOINT_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    with FavCRMClient(transport=Sandbox().transport() if with_transport else None) as crm:
        assert (crm._engine.keys.key is None) is with_transport
