"""The table of error codes: what each one means, what the caller does next, and what a person must do.

The exceptions take their defaults from this table, and the page of the documentation is made of it. No text in it
names a method or an argument, because a terminal and an agent's tools show the same texts.
"""

from __future__ import annotations

from typing import NamedTuple

PORTAL = "https://app.favcrm.io"
GIVE_FRESH_CODE = "Read the code in the next email from FavCRM, and give that code."


class ErrorCode(NamedTuple):
    """One row of the table.

    Attributes:
        error: The name of the exception's class.
        meaning: What happened, and what was not done.
        next_step: What the caller does, where the error has no step of its own.
        human_action: What a person must do, or None where no person is needed.
    """

    error: str
    meaning: str
    next_step: str
    human_action: str | None = None


ERROR_CODES = {
    "error": ErrorCode(
        "FavCRMError",
        "A failure without a code of its own.",
        "Report the message to FavCRM's support, with the request id where there is one.",
    ),
    "invalid_input": ErrorCode(
        "InvalidInputError",
        "An argument or a setting is not valid. Nothing was sent.",
        "Correct each problem that the message names, then try again.",
    ),
    "transport_failed": ErrorCode(
        "TransportError",
        "The request, or the answer to it, was lost on the way.",
        "Check the endpoint's address and the network.",
    ),
    "not_sent": ErrorCode(
        "NotSentError",
        "The request did not reach the server. Nothing was done.",
        "Check the endpoint's address and the network, then try again: a second try is safe.",
    ),
    "outcome_unknown": ErrorCode(
        "OutcomeUnknownError",
        "The request was sent, and no answer says what became of it. The server may have carried it out.",
        "Find out whether the request was carried out before you send it again.",
    ),
    "server_busy": ErrorCode(
        "ServerBusyError", "The server asks to wait. Nothing was done.", "Wait, then try again."
    ),
    "rate_limited": ErrorCode(
        "RateLimitError",
        "The server takes no more requests for now. Nothing was done.",
        "Tell the user, and wait before the next request. Do not repeat the request in a loop.",
    ),
    "unexpected_answer": ErrorCode(
        "UnexpectedAnswerError",
        "The answer does not hold what the request promises.",
        "Check that the endpoint is a FavCRM MCP endpoint, and that this package is up to date.",
    ),
    "refused": ErrorCode(
        "RefusedError",
        "The server understood the request and refused it. Nothing was done.",
        "Read what the server says, then correct the request or decide with the user.",
    ),
    "invalid_code": ErrorCode(
        "InvalidCodeError",
        "The one-time code is wrong. Nothing was created.",
        "Ask the user for the code in the newest email, and confirm the same registration with that code.",
        "Read the newest email from FavCRM again, and give the code that stands there.",
    ),
    "code_expired": ErrorCode(
        "CodeExpiredError",
        "The one-time code is too old. Nothing was created.",
        "Ask the server for a fresh code, and confirm with the fresh code.",
        GIVE_FRESH_CODE,
    ),
    "too_many_attempts": ErrorCode(
        "TooManyAttemptsError",
        "The server takes no more codes for this registration. Nothing was created.",
        "Ask the server for a fresh code, and check each digit before you confirm.",
        GIVE_FRESH_CODE,
    ),
    "already_registered": ErrorCode(
        "AlreadyRegisteredError",
        "The email has an account already, so this request created nothing.",
        f"Do not sign up again. Ask the user to sign in at {PORTAL} and to create a key under Settings, MCP Keys, and "
        "work with that key.",
        f"Sign in at {PORTAL}, create a key under Settings, MCP Keys, and put the key into the environment variable "
        "FAVCRM_API_KEY.",
    ),
    "authentication_failed": ErrorCode(
        "AuthenticationError",
        "The key is missing, wrong, revoked or not allowed to do this. Nothing was done.",
        f"Check the key. Where the key is no longer good, create a new one at {PORTAL} under Settings, MCP Keys.",
        f"Sign in at {PORTAL}, create a key under Settings, MCP Keys, and put the key where the old one was.",
    ),
    "plan_limit": ErrorCode(
        "PlanLimitError",
        "The plan does not allow the request, or its quota is used up. Nothing was done.",
        "Tell the user which limit was reached. The tool list_plan_options shows the plans.",
        f"Sign in at {PORTAL} and choose another plan, or do without the request.",
    ),
    "input_required": ErrorCode(
        "InputRequiredError",
        "The server asks for input before it goes on, and nobody here gives it. The request was not completed.",
        "Make the request over a transport that answers what the server asks for.",
        "Answer what the server asks for.",
    ),
    "not_ready": ErrorCode(
        "NotReadyError",
        "The diagnosis found something that blocks work.",
        "Do what each failed check advises, then diagnose again.",
    ),
    "store_failed": ErrorCode(
        "StoreError",
        "The store could not save, read or remove the key.",
        "Check the store, then try again.",
    ),
    "missing_key": ErrorCode(
        "MissingKeyError",
        "The store can be read, and holds no key of that name.",
        "Check the reference, or store the key again.",
    ),
    "code_unavailable": ErrorCode(
        "CodeUnavailableError",
        "Nobody here can give the one-time code. The code was not used.",
        "Get the code in another way, and confirm the registration with that code.",
        "Read the newest email from FavCRM, and give the code that stands there.",
    ),
}
