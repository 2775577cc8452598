"""What the command says of an error: the dictionary of the error to machines, and words for a terminal to people."""

from __future__ import annotations

import json
import re

import pytest
from error_examples import ERRORS

from favcrm import errors
from favcrm.cli.commands import favcrm
from favcrm.cli.output import JSONOutput, Output

NAMES = [error.code for error in ERRORS]
PYTHON = re.compile(r"\w=|\(\)|\b(?!list_plan_options|accept_)[a-z]+_[a-z]")
PORTAL = "Sign in at https://app.favcrm.io"


@pytest.mark.parametrize("error", ERRORS, ids=NAMES)
def test_machines_get_the_dictionary_of_the_error(
    error: errors.FavCRMError, capsys: pytest.CaptureFixture[str]
) -> None:
    JSONOutput().error(error)
    assert json.loads(capsys.readouterr().err) == {"error": error.to_dict()}


@pytest.mark.parametrize("error", ERRORS, ids=NAMES)
def test_people_get_a_message_and_a_next_step_without_names_of_python(
    error: errors.FavCRMError, capsys: pytest.CaptureFixture[str]
) -> None:
    Output().error(error)
    message, step, *_ = capsys.readouterr().err.splitlines()
    assert message.startswith("Error: ")
    assert step.startswith("Next step: ")
    assert not PYTHON.search(message + step)


def shown(error: errors.FavCRMError, capsys: pytest.CaptureFixture[str]) -> list[str]:
    Output().error(error)
    return capsys.readouterr().err.splitlines()


def test_a_next_step_of_its_own_is_shown_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    error = errors.AuthenticationError("No.", next_step="Ask for another scope.", request_id="req_1")
    assert shown(error, capsys) == ["Error: No.", "Next step: Ask for another scope.", "Support id: req_1"]


def test_the_usual_next_step_names_the_command_instead(capsys: pytest.CaptureFixture[str]) -> None:
    _, step = shown(errors.AuthenticationError("No."), capsys)
    assert step.startswith(f"Next step: {PORTAL}")
    assert step.endswith('save the key with "favcrm login".')
    assert "login" in favcrm.commands


def test_a_wait_is_shown_in_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Wait: 60 seconds" in shown(errors.RateLimitError("No.", retry_after=60), capsys)


def test_a_wrong_argument_is_named_as_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    problems = [
        errors.Problem("organisation_name", "is too long"),
        errors.Problem("FAVCRM_TIMEOUT", "is odd"),
    ]
    message, _ = shown(errors.InvalidInputError(problems), capsys)
    assert message == (
        "Error: The input is not valid, so nothing was sent: "
        "--organisation-name: is too long; FAVCRM_TIMEOUT: is odd."
    )
