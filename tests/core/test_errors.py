"""The exception tree: what each error carries, and that it crosses processes without a key."""

from __future__ import annotations

import inspect
import pickle
import secrets
import typing
from collections.abc import Mapping

import pytest

from favcrm import errors
from favcrm.models import DiagnosticReport, Workspace
from favcrm.secret import Secret

REPORT = DiagnosticReport(
    endpoint_reachable=False,
    auth_configured=False,
    tool_count=0,
    organisation=None,
    plan_status=None,
    whatsapp_connected=None,
    checks=(),
)

EXAMPLES = [
    errors.FavCRMError("It failed.", request_id="req_1"),
    errors.InvalidInputError([errors.Problem("email", "must be an address")]),
    errors.TransportError("It failed."),
    errors.NotSentError("It failed.", permanent=True),
    errors.OutcomeUnknownError("It failed.", next_step="Look."),
    errors.ServerBusyError("It failed.", retry_after=3.0),
    errors.RateLimitError("It failed.", retry_after=60.0),
    errors.UnexpectedAnswerError("It failed.", problems=["$.requestId is missing"]),
    errors.RefusedError("It failed.", code=404, summary="no"),
    errors.InvalidCodeError("It failed."),
    errors.CodeExpiredError("It failed."),
    errors.TooManyAttemptsError("It failed."),
    errors.AlreadyRegisteredError("It failed."),
    errors.AuthenticationError("It failed."),
    errors.PlanLimitError("It failed."),
    errors.InputRequiredError("It failed.", input_requests={"name": {"method": "elicitation/create"}}),
    errors.NotReadyError("It failed.", report=REPORT),
    errors.StoreError("It failed."),
    errors.MissingKeyError("It failed."),
    errors.NoCodeError("It failed."),
]


def test_every_class_has_an_example_here() -> None:
    public = {getattr(errors, name) for name in errors.__all__} - {errors.Problem, errors.KeyNotStoredWarning}
    assert {type(example) for example in EXAMPLES} == public


def test_the_tree_is_drawn_as_it_is() -> None:
    drawn = inspect.getdoc(errors) or ""
    for name in errors.__all__:
        assert name == "Problem" or name in drawn


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_says_what_happened_and_what_to_do(error: errors.FavCRMError) -> None:
    assert error.message in str(error)
    assert error.next_step
    assert str(error).endswith(error.next_step)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling(error: errors.FavCRMError) -> None:
    copied = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    assert type(copied) is type(error)
    assert str(copied) == str(error)
    assert vars(copied) == vars(error)


def test_what_a_server_told_survives_pickling() -> None:
    error = errors.AuthenticationError("It failed.", code=403)
    error.challenge, error.data = {"error": "insufficient_scope"}, {"errors": [1, None]}
    copied = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    assert (copied.challenge, copied.data) == (error.challenge, error.data)
    assert "insufficient_scope" not in str(copied) + repr(copied)


def test_what_a_server_told_has_types_at_run_time() -> None:
    assert typing.get_type_hints(errors.AuthenticationError)["challenge"] == Mapping[str, str]
    assert "data" in typing.get_type_hints(errors.RefusedError)


def test_the_request_id_comes_first() -> None:
    assert str(EXAMPLES[0]).startswith("[req_1] It failed.")


def test_invalid_input_is_a_value_error_too() -> None:
    assert isinstance(EXAMPLES[1], ValueError)


def test_a_store_error_is_pickled_without_its_workspace() -> None:
    value = f"fav_mcp_{secrets.token_urlsafe(24)}"
    error = errors.StoreError("It failed.", workspace=Workspace(api_key=Secret(value)))
    pickled = pickle.dumps(error)
    assert value.encode() not in pickled
    assert pickle.loads(pickled).workspace is None  # noqa: S301  # our own bytes
    assert value not in str(error) + repr(error)


def test_refusals_share_a_base() -> None:
    refused = [
        errors.InvalidCodeError,
        errors.CodeExpiredError,
        errors.TooManyAttemptsError,
        errors.AlreadyRegisteredError,
        errors.AuthenticationError,
        errors.PlanLimitError,
    ]
    assert all(issubclass(cls, errors.RefusedError) for cls in refused)
    assert issubclass(errors.RateLimitError, errors.ServerBusyError)
    assert issubclass(errors.NotSentError, errors.TransportError)
    assert issubclass(errors.OutcomeUnknownError, errors.TransportError)
