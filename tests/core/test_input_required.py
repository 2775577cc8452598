"""Answers that ask for more, and kinds of results that nobody knows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from favcrm import InputRequiredError, InvalidInputError, NotSentError, OutcomeUnknownError
from favcrm._backends import run_sync
from favcrm._mcp.input_required import check_result_type, in_rounds, input_requests, next_params
from favcrm.errors import Problem
from favcrm.transport import Response

if TYPE_CHECKING:
    from favcrm.typing import JSON

ASKED: dict[str, JSON] = {"name": {"method": "elicitation/create", "params": {"message": "Who?"}}}


def asking(**more: JSON) -> Response:
    return Response(result={"resultType": "input_required", **more})


@pytest.mark.parametrize(
    ("response", "requests"),
    [
        (asking(inputRequests=ASKED), ASKED),
        (asking(inputRequests=ASKED, requestState="s"), ASKED),
        (asking(requestState="s"), {}),
        (asking(inputRequests={}), {}),
        (asking(inputRequests=None), {}),
        (asking(inputRequests=[1]), {}),
        (Response(result={"resultType": "complete"}), None),
        (Response(result={"content": []}), None),
        (Response(result={"resultType": None}), None),
        (Response(result=[]), None),
        (Response(), None),
    ],
)
def test_the_questions_of_an_answer_are_its_input_requests(response: Response, requests: JSON) -> None:
    assert input_requests(response) == requests


PARAMS: dict[str, JSON] = {"name": "any", "arguments": {}}


@pytest.mark.parametrize("state", ["a state", "", " \u2028", None, 7, {"nested": [1]}])
def test_the_state_is_sent_back_unchanged(state: JSON) -> None:
    params = next_params(PARAMS, asking(requestState=state), {"name": "Ann"})
    assert params == {**PARAMS, "inputResponses": {"name": "Ann"}, "requestState": state}


def test_an_answer_without_a_state_sends_none_back() -> None:
    assert next_params(PARAMS, asking(), {}) == PARAMS
    assert next_params(PARAMS, asking(), {"name": "Ann"}) == {**PARAMS, "inputResponses": {"name": "Ann"}}
    assert next_params(PARAMS, Response(), {}) == PARAMS


def test_a_newer_state_replaces_an_older_one() -> None:
    before = {**PARAMS, "requestState": "old", "inputResponses": {}}
    after = next_params(before, asking(requestState="new"), {"name": "Ann"})
    assert after == {**PARAMS, "inputResponses": {"name": "Ann"}, "requestState": "new"}


async def no_sleep(_: float) -> None:
    """Wait for nothing."""


def test_a_question_without_on_input_raises_input_required_error() -> None:
    async def ask(_: object) -> Response:
        return asking(inputRequests=ASKED)

    with pytest.raises(InputRequiredError) as raised:
        run_sync(in_rounds({}, ask, on_input=None, sleep=no_sleep))
    assert raised.value.input_requests == ASKED
    assert "Who?" not in str(raised.value)
    assert raised.value.next_step


@pytest.mark.parametrize(("rounds", "waits"), [(6, [0.05, 0.1, 0.2, 0.25, 0.25]), (11, None)])
def test_rounds_without_questions_are_made_ever_more_slowly_and_ten_times_at_most(
    rounds: int, waits: list[float] | None
) -> None:
    slept: list[float] = []
    told = iter([*[asking(requestState=number) for number in range(rounds - 1)], Response(result={})])

    async def ask(_: object) -> Response:
        return next(told)

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    response = run_sync(in_rounds({}, ask, on_input=None, sleep=sleep))
    if waits is None:
        assert response.defect == "still asks for input after 10 rounds"
    else:
        assert (response.result, slept) == ({}, waits)


@pytest.mark.parametrize(("rounds", "error"), [(1, NotSentError), (2, OutcomeUnknownError)])
def test_a_later_round_that_is_not_sent_raises_outcome_unknown_error(
    rounds: int, error: type[Exception]
) -> None:
    """A later round that does not reach the server leaves a call that the server has begun."""
    asked: list[object] = []

    async def ask(params: object) -> Response:
        asked.append(params)
        if len(asked) == rounds:
            raise NotSentError("The endpoint cannot be reached. Nothing was sent.")
        return asking(requestState="s")

    with pytest.raises(error):
        run_sync(in_rounds({}, ask, on_input=None, sleep=no_sleep))


@pytest.mark.parametrize(("rounds", "error"), [(1, InvalidInputError), (2, OutcomeUnknownError)])
def test_answers_that_are_not_json_raise_outcome_unknown_error(rounds: int, error: type[Exception]) -> None:
    asked: list[object] = []

    async def ask(params: object) -> Response:
        asked.append(params)
        if len(asked) == rounds:
            raise InvalidInputError([Problem("inputResponses", "is not JSON")])
        return asking(inputRequests=ASKED)

    with pytest.raises(error, match="nothing was sent" if rounds == 1 else "the answers are not JSON"):
        run_sync(in_rounds({}, ask, on_input=lambda _: {"name": "Ann"}, sleep=no_sleep))


@pytest.mark.parametrize("answers", [None, "Ann", ["Ann"]])
def test_an_on_input_without_answers_raises_outcome_unknown_error(answers: Any) -> None:
    asked: list[object] = []

    async def ask(params: object) -> Response:
        asked.append(params)
        return asking(inputRequests=ASKED)

    async def later(_: object) -> Any:
        return answers

    for on_input in (later, lambda _: answers):
        with pytest.raises(OutcomeUnknownError, match="on_input returned no answers"):
            run_sync(in_rounds({}, ask, on_input=on_input, sleep=no_sleep))
    assert len(asked) == 2


@pytest.mark.parametrize(
    "result", [{"content": []}, {"resultType": "complete", "content": []}, [], "text", None, 7]
)
def test_a_result_without_a_result_type_is_complete(result: JSON) -> None:
    response = Response(result=result, status=200)
    assert check_result_type(response) is response


@pytest.mark.parametrize("kind", ["later", "", None, 7, "Complete", ["complete"]])
def test_an_unknown_result_type_is_a_defect(kind: JSON) -> None:
    checked = check_result_type(Response(result={"resultType": kind, "content": []}, status=200))
    assert (checked.result, checked.status, checked.complete) == (None, 200, True)
    assert checked.defect == "has a resultType that is not known"
    assert json.loads(checked.body) == [{"resultType": kind, "content": []}]
