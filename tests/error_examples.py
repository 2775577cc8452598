"""One error of each class, for the tests that hold every surface to the same dictionary."""

from __future__ import annotations

from favcrm import errors
from favcrm.models import DiagnosticReport

REPORT = DiagnosticReport(
    endpoint_reachable=False,
    auth_configured=False,
    tool_count=0,
    organisation=None,
    plan_status=None,
    whatsapp_connected=None,
    checks=(),
)

ERRORS = [
    errors.FavCRMError("It failed.", request_id="req_1", endpoint="https://example.com/mcp"),
    errors.InvalidInputError([errors.Problem("email", "must be an address")]),
    errors.TransportError("It failed."),
    errors.NotSentError("It failed.", permanent=True),
    errors.OutcomeUnknownError("It failed.", next_step="Look.", human_action="Sign in."),
    errors.ServerBusyError("It failed.", retry_after=3.0),
    errors.RateLimitError("It failed.", retry_after=60.0, server_code=429),
    errors.UnexpectedAnswerError("It failed.", problems=["$.requestId is missing"]),
    errors.RefusedError("It failed.", server_code=404, summary="no", data={"errors": [1, None]}),
    errors.InvalidCodeError("It failed."),
    errors.CodeExpiredError("It failed."),
    errors.TooManyAttemptsError("It failed."),
    errors.AlreadyRegisteredError("It failed.", login_url="https://example.com/login"),
    errors.AuthenticationError(
        "It failed.", challenge={"error": "insufficient_scope"}, key_source="FAVCRM_API_KEY"
    ),
    errors.PlanLimitError("It failed.", upgrade_action="Choose another plan."),
    errors.InputRequiredError("It failed.", input_requests={"name": {"method": "elicitation/create"}}),
    errors.NotReadyError("It failed.", report=REPORT),
    errors.StoreError("It failed."),
    errors.MissingKeyError("It failed."),
    errors.CodeUnavailableError("It failed."),
]
