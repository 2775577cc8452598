"""The exception tree: what each error carries, as text, as JSON, and from one process to another."""

from __future__ import annotations

import inspect
import json
import pickle
import re
import secrets
import typing
from collections.abc import Mapping

import pytest
from error_examples import ERRORS
from error_table import PAGE, table

from favcrm import errors
from favcrm._error_codes import ERROR_CODES
from favcrm.models import Workspace
from favcrm.secret import Secret

NAMES = [type(example).__name__ for example in ERRORS]
CLASSES = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]
CONTRACT = {
    "code",
    "message",
    "next_step",
    "human_action",
    "retry_after",
    "request_id",
    "server_code",
}
PYTHON = re.compile(r"[a-z]\.[a-z]|\w=|\(\)|`|\b(?!list_plan_options)[a-z]+_[a-z]")


def test_each_class_has_an_example() -> None:
    assert {type(error) for error in ERRORS} == set(CLASSES)


def drawn_tree(text: str) -> dict[str, str]:
    """Return the parent of each error that stands in a drawing."""
    parents: dict[str, str] = {}
    path = ["Exception"]
    for prefix, name in re.findall(r"^ *((?:[│ ]   )*(?:[├└]── )?)(\w+Error)\b", text, re.MULTILINE):
        path = [*path[: len(prefix) // 4 + 1], name]
        parents[name] = path[-2]
    return parents


@pytest.mark.parametrize("text", [inspect.getdoc(errors) or "", PAGE.read_text()], ids=["docstring", "page"])
def test_the_tree_is_drawn_as_it_is(text: str) -> None:
    drawing = text[text.index("FavCRMError\n") :]
    assert drawn_tree(drawing) == {cls.__name__: cls.__base__.__name__ for cls in CLASSES}


# The table of codes


def test_each_class_has_its_row_in_the_table_and_each_row_its_class() -> None:
    assert {row.error: code for code, row in ERROR_CODES.items()} == {
        cls.__name__: cls.code for cls in CLASSES
    }


@pytest.mark.parametrize("code", ERROR_CODES)
def test_a_row_names_no_method_and_no_argument(code: str) -> None:
    row = ERROR_CODES[code]
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", code)
    for text in (row.meaning, row.next_step, row.human_action):
        assert text is None or not PYTHON.search(text.replace("app.favcrm.io", "")), text
        assert text is None or text.endswith(".")


def test_the_page_has_the_table_of_codes() -> None:
    assert table() in PAGE.read_text(), "Run: python tests/error_table.py"


# What an error says


@pytest.mark.parametrize("error", ERRORS, ids=NAMES)
def test_the_text_has_the_message_and_the_next_step(error: errors.FavCRMError) -> None:
    assert f"{error.message} {error.next_step}" in str(error)


def test_the_text_begins_with_the_request_id_and_ends_with_the_facts() -> None:
    text = str(ERRORS[0])
    assert text.startswith("[req_1] It failed.")
    assert text.endswith("The endpoint was https://example.com/mcp.")
    assert str(errors.RateLimitError("No.", retry_after=60)).endswith("The server asks to wait 60 seconds.")
    assert str(errors.AuthenticationError("No.", key_source="a file")).endswith("The key came from a file.")


@pytest.mark.parametrize("error", ERRORS, ids=NAMES)
def test_the_dictionary_is_json_with_the_whole_contract(error: errors.FavCRMError) -> None:
    told = error.to_dict()
    assert told.keys() >= CONTRACT
    assert {name: told[name] for name in CONTRACT} == {name: getattr(error, name) for name in CONTRACT}
    assert json.loads(json.dumps(told)) == told


def test_the_dictionary_has_what_only_this_error_knows() -> None:
    own = {
        error.code: {name: value for name, value in error.to_dict().items() if name not in CONTRACT}
        for error in ERRORS
    }
    assert {code: values for code, values in own.items() if values} == {
        "error": {"endpoint": "https://example.com/mcp"},
        "invalid_input": {"problems": [{"field": "email", "message": "must be an address"}]},
        "not_sent": {"permanent": True},
        "unexpected_answer": {"problems": ["$.requestId is missing"]},
        "refused": {"summary": "no"},
        "already_registered": {"login_url": "https://example.com/login"},
        "authentication_failed": {
            "challenge": {"error": "insufficient_scope"},
            "key_source": "FAVCRM_API_KEY",
        },
        "plan_limit": {"upgrade_action": "Choose another plan."},
        "input_required": {"input_requests": {"name": {"method": "elicitation/create"}}},
    }


def test_the_dictionary_has_no_key_and_no_email() -> None:
    key = f"fav_mcp_{secrets.token_urlsafe(24)}"
    email = "ada@example.org"
    words = f"{key} of {email}"
    told = [
        errors.RefusedError(words, summary=words, server_code=words, next_step=words, human_action=words),
        errors.InputRequiredError(words, input_requests={words: {"message": [words]}}),
        errors.AuthenticationError(words, challenge={"scope": words}, key_source=words),
        errors.AlreadyRegisteredError(words, login_url=f"https://example.com/{email}/{key}"),
        errors.StoreError(words, workspace=Workspace(api_key=Secret(key))),
        errors.InvalidInputError([errors.Problem(words, words)]),
    ]
    for error in told:
        text = json.dumps(error.to_dict())
        assert key not in text
        assert email not in text


def test_the_dictionary_leaves_out_what_nests_too_deep_to_be_searched() -> None:
    deep: typing.Any = "fav_mcp_"
    for _ in range(100_000):
        deep = [deep]
    told = errors.InputRequiredError("It failed.", input_requests={"deep": deep}).to_dict()
    assert told["input_requests"] is None
    assert told["message"] == "It failed."


def test_a_class_of_a_users_own_may_have_a_code_of_its_own() -> None:
    class DriveError(errors.StoreError):
        code = "drive_failed"

    told = DriveError("The drive is full.").to_dict()
    assert told["code"] == "drive_failed"
    assert told["next_step"] == ERROR_CODES["error"].next_step


# From one process to another


@pytest.mark.parametrize("error", ERRORS, ids=NAMES)
def test_an_error_survives_pickling(error: errors.FavCRMError) -> None:
    copied = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    assert type(copied) is type(error)
    assert str(copied) == str(error)
    assert vars(copied) == vars(error)


def test_a_store_error_is_pickled_without_its_workspace() -> None:
    value = f"fav_mcp_{secrets.token_urlsafe(24)}"
    error = errors.StoreError("It failed.", workspace=Workspace(api_key=Secret(value)))
    pickled = pickle.dumps(error)
    assert value.encode() not in pickled
    assert pickle.loads(pickled).workspace is None  # noqa: S301  # our own bytes
    assert value not in str(error) + repr(error)


def test_data_and_challenge_are_not_in_the_text() -> None:
    error = errors.AuthenticationError("It failed.", challenge={"scope": "odd"}, data={"inner": "odd"})
    assert "odd" not in str(error) + repr(error)


def test_the_types_of_what_a_server_told_can_be_read_at_run_time() -> None:
    hints = typing.get_type_hints(errors.AuthenticationError.__init__)
    assert hints["challenge"] == Mapping[str, str]


def test_invalid_input_is_a_value_error_too() -> None:
    assert issubclass(errors.InvalidInputError, ValueError)
