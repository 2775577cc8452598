"""Why a call to AWS failed, from botocore's exceptions and AWS's codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from favcrm.stores._services import Reason, reason_of

FORBIDDEN = 403
REFUSALS = range(400, 500)

CREDENTIALS = "Check the AWS credentials and how they are found, and try again."
NETWORK = "Check the region, the endpoint and the network, and try again."
EXISTS = "ResourceExistsException"
MISSING = "ResourceNotFoundException"
NOT_POSSIBLE = "InvalidRequestException"
DENIED = Reason(
    "AWS does not allow it",
    "Allow secretsmanager:CreateSecret, PutSecretValue, GetSecretValue and DeleteSecret on the store's prefix.",
)
REFUSED_CREDENTIALS = Reason("AWS does not accept the credentials", CREDENTIALS)
NO_CREDENTIALS = Reason("no AWS credentials were found", CREDENTIALS)
UNREACHABLE = Reason("AWS Secrets Manager cannot be reached", NETWORK)
REASONS = {
    "UnrecognizedClientException": REFUSED_CREDENTIALS,
    "InvalidClientTokenId": REFUSED_CREDENTIALS,
    "SignatureDoesNotMatch": REFUSED_CREDENTIALS,
    "ExpiredTokenException": REFUSED_CREDENTIALS,
    "AccessDeniedException": DENIED,
    "ThrottlingException": Reason("AWS takes no more requests for now", "Wait a minute, and try again."),
    NOT_POSSIBLE: Reason(
        "AWS does not do it in the state the secret is in, such as scheduled for deletion",
        "Restore the secret or wait until it is deleted, or use another prefix.",
    ),
    "NoCredentialsError": NO_CREDENTIALS,
    "PartialCredentialsError": NO_CREDENTIALS,
    "CredentialRetrievalError": NO_CREDENTIALS,
    "NoRegionError": Reason("no AWS region is set", "Say region=..., or set AWS_DEFAULT_REGION."),
    "EndpointConnectionError": UNREACHABLE,
    "ConnectTimeoutError": UNREACHABLE,
    "SSLError": UNREACHABLE,
    "ReadTimeoutError": Reason("AWS Secrets Manager did not answer in time", NETWORK, certain=False),
}


def _answer(error: BaseException) -> tuple[str, int]:
    """Return AWS's code and the HTTP status, where the error is an answer of AWS."""
    response: Mapping[str, Mapping[str, Any]] | None = getattr(error, "response", None)
    if not isinstance(response, Mapping):
        return "", 0
    code = response.get("Error", {}).get("Code")
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return str(code), status if isinstance(status, int) else 0


def code_of(error: BaseException) -> str:
    """Return AWS's code, or nothing where the error is not an answer of AWS."""
    return _answer(error)[0]


def why(error: BaseException) -> Reason:
    """Return why a call failed."""
    code, status = _answer(error)
    known = REASONS.get(code) or reason_of(error, REASONS)
    if known is not None:
        return known
    if status == FORBIDDEN:
        return DENIED
    if status in REFUSALS:
        return Reason(f"AWS refused it with status {status}")
    what = f"status {status}" if status else type(error).__name__
    return Reason(f"AWS Secrets Manager failed with {what}", certain=False)
