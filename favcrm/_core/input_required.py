"""Answers that ask for more before they are complete (MCP 2026-07-28, multi round-trip requests)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from attrs import evolve

from favcrm.errors import InputRequiredError

if TYPE_CHECKING:
    from favcrm._core.transport import Response
    from favcrm.typing import JSON

MAX_ROUNDS = 10
FIRST_WAIT = 0.05
LONGEST_WAIT = 0.25


def input_requests(response: Response) -> Mapping[str, JSON] | None:
    """Return what an answer asks for, nothing but another attempt included; None where it asks for nothing."""
    result = response.result
    if not isinstance(result, dict) or result.get("resultType") != "input_required":
        return None
    requests = result.get("inputRequests")
    return requests if isinstance(requests, dict) else {}


def next_params(
    params: Mapping[str, JSON], response: Response, responses: Mapping[str, JSON]
) -> Mapping[str, JSON]:
    """Return the parameters of the next round: the state of this answer as it is, and of no other."""
    result = response.result
    added: dict[str, JSON] = {"inputResponses": responses} if responses else {}
    if isinstance(result, dict) and "requestState" in result:
        added["requestState"] = result["requestState"]
    return {**params, **added}


def refuse_input(requests: Mapping[str, JSON]) -> InputRequiredError:
    """Return the error for who cannot answer."""
    return InputRequiredError(
        "The server asks for input, and nobody here gives it. The call was not completed.",
        input_requests=requests,
    )


def check_result_type(response: Response) -> Response:
    """Mark an answer as broken whose kind of result is not known, as the specification demands."""
    result = response.result
    kind = result.get("resultType", "complete") if isinstance(result, dict) else "complete"
    if kind == "complete":
        return response
    return evolve(response, result=None, body=str(result), defect="has a resultType that is not known")
