"""Answers that ask for more before they are complete (MCP 2026-07-28, multi round-trip requests)."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias, cast

from attrs import evolve

from favcrm._mcp.payloads import as_text
from favcrm.errors import InputRequiredError, InvalidInputError, NotSentError, OutcomeUnknownError
from favcrm.transport import Response
from favcrm.typing import JSON

OnInput: TypeAlias = Callable[[Mapping[str, JSON]], Mapping[str, JSON] | Awaitable[Mapping[str, JSON]]]
"""Given a server's ``inputRequests``; returns the ``inputResponses``, or on the asynchronous side what yields them."""

MAX_ROUNDS = 10
FIRST_WAIT = 0.05
LONGEST_WAIT = 0.25


async def in_rounds(
    params: Mapping[str, JSON],
    ask: Callable[[Mapping[str, JSON]], Awaitable[Response]],
    *,
    on_input: OnInput | None,
    sleep: Callable[[float], Awaitable[object]],
) -> Response:
    """Make a call in all the rounds that it takes.

    Args:
        params: The call's parameters.
        ask: Sends a round with its parameters, under an id of its own.
        on_input: Answers what the server asks for, or None.
        sleep: Waits before a round without answers.

    Raises:
        InputRequiredError: The server asks for input, and nobody gives it.
        OutcomeUnknownError: The answers did not reach the server, which has begun with the call.
    """
    given, wait = params, FIRST_WAIT
    for _ in range(MAX_ROUNDS):
        try:
            response = await ask(given)
        except (InvalidInputError, NotSentError) as error:
            if given is params:
                raise
            # "Nothing was sent" is true of this round alone, because the earlier rounds were sent.
            invalid = isinstance(error, InvalidInputError)
            raise _unfinished(
                "the answers are not JSON" if invalid else "the answers did not reach it"
            ) from None
        requests = input_requests(response)
        if requests is None:
            return check_result_type(response)
        answers: Mapping[str, JSON] = {}
        if requests:
            answers = await _answer(requests, on_input)
        else:
            await sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT)
        given = next_params(params, response, answers)
    return Response(defect=f"still asks for input after {MAX_ROUNDS} rounds")


async def _answer(requests: Mapping[str, JSON], on_input: OnInput | None) -> Mapping[str, JSON]:
    if on_input is None:
        raise InputRequiredError(
            "The server asks for input, and nobody here gives it. The call was not completed.",
            input_requests=requests,
        )
    given = on_input(requests)
    answers = cast("object", await given if inspect.isawaitable(given) else given)
    if not isinstance(answers, Mapping):
        # With anything else the server would only ask again.
        raise _unfinished("on_input returned no answers")
    return cast("Mapping[str, JSON]", answers)


def _unfinished(reason: str) -> OutcomeUnknownError:
    return OutcomeUnknownError(f"The server asked for input, and {reason}. The call was not completed.")


def input_requests(response: Response) -> Mapping[str, JSON] | None:
    """Return what an answer asks for, or None if it is complete. Empty if it only asks for another round."""
    result = response.result
    if not isinstance(result, dict) or result.get("resultType") != "input_required":
        return None
    requests = result.get("inputRequests")
    return requests if isinstance(requests, dict) else {}


def next_params(
    params: Mapping[str, JSON], response: Response, responses: Mapping[str, JSON]
) -> Mapping[str, JSON]:
    """Return the parameters of the next round, with the state of this answer unchanged."""
    result = response.result
    added: dict[str, JSON] = {"inputResponses": responses} if responses else {}
    if isinstance(result, dict) and "requestState" in result:
        added["requestState"] = result["requestState"]
    return {**params, **added}


def check_result_type(response: Response) -> Response:
    """Mark an answer as broken whose kind of result is not known, as the specification demands."""
    result = response.result
    kind = result.get("resultType", "complete") if isinstance(result, dict) else "complete"
    if kind == "complete":
        return response
    # Kept, because a key may be in it. Inside a list it is not taken for a refusal.
    body = as_text([result])
    return evolve(response, result=None, body=body, defect="has a resultType that is not known")
