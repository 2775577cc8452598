"""Why a call to AWS failed, from botocore's exceptions and AWS's codes."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from favcrm.stores._services import Reason, by_name, reason_by_class

EXISTS = "ResourceExistsException"
MISSING = "ResourceNotFoundException"

CREDENTIALS = "Check the AWS credentials and how they are found, and try again."
NETWORK = "Check the region, the endpoint and the network, and try again."
NO_REGION = "Say region=..., or set AWS_DEFAULT_REGION."
WAIT = "Wait a minute, and try again."
QUOTA = "Delete what is not needed, or ask AWS for a higher quota."
RESTORE = "Restore the secret or wait until it is deleted, or use another prefix."
KMS = (
    "Check the KMS key of the secret: that it is enabled, and that kms:Encrypt, kms:Decrypt and "
    "kms:GenerateDataKey are allowed on it."
)
DENIED = Reason(
    "AWS does not allow it",
    "Allow secretsmanager:CreateSecret, PutSecretValue, GetSecretValue and DeleteSecret on the store's prefix.",
)
CLOCK = Reason(
    "AWS does not accept the time of this machine", "Set the clock of this machine, and try again."
)
KMS_DENIED = Reason("AWS does not allow the use of the KMS key", KMS)
REASONS = by_name(
    {
        "AccessDeniedException": DENIED,
        "RequestExpired RequestInTheFuture RequestTimeTooSkewed": CLOCK,
        "KMSAccessDeniedException": KMS_DENIED,
        "DecryptionFailure DisabledException EncryptionFailure KMSDisabledException KMSInvalidStateException "
        "KMSNotFoundException": Reason("AWS could not use the KMS key", KMS),
        "IncompleteSignature IncompleteSignatureException InvalidClientTokenId InvalidSignatureException "
        "MissingAuthenticationToken MissingAuthenticationTokenException SignatureDoesNotMatch "
        "UnrecognizedClientException": Reason("AWS does not accept the credentials", CREDENTIALS),
        "CredentialRetrievalError NoCredentialsError PartialCredentialsError": Reason(
            "no AWS credentials were found", CREDENTIALS
        ),
        "ExpiredToken ExpiredTokenException": Reason(
            "the AWS credentials have expired", "Get new ones, such as by signing in again, and try again."
        ),
        "LoginError SSOError TokenRetrievalError UnauthorizedException UnauthorizedSSOTokenError": Reason(
            "the AWS sign-in has expired or was never made", "Run: aws sso login (or aws login)."
        ),
        "ConfigNotFound ConfigParseError InvalidConfigError ProfileNotFound": Reason(
            "the AWS configuration cannot be used",
            "Check AWS_PROFILE and the files in ~/.aws, and try again.",
        ),
        "NoRegionError": Reason("no AWS region is set", NO_REGION),
        "InvalidRegionError": Reason("the AWS region is not one", NO_REGION),
        "OptInRequired": Reason("the AWS account may not use this region or service", NETWORK),
        "LimitExceededException": Reason(
            "the AWS account has as many secrets, or versions of this one, as its quota allows", QUOTA
        ),
        "PreconditionNotMetException": Reason(
            "AWS does not do it while the secret is being replicated or changed", WAIT
        ),
        "RequestLimitExceeded ThrottledException Throttling ThrottlingException TooManyRequestsException": Reason(
            "AWS takes no more requests for now", WAIT
        ),
        MISSING: Reason("AWS finds no such secret, or no such KMS key", KMS),
        "InvalidRequestException": Reason(
            "AWS does not do it in the state the secret is in, such as scheduled for deletion", RESTORE
        ),
        "ConnectTimeoutError EndpointConnectionError ProxyConnectionError SSLError": Reason(
            "AWS Secrets Manager cannot be reached", NETWORK
        ),
        "ReadTimeoutError": Reason("AWS Secrets Manager did not answer in time", NETWORK, certain=False),
    }
)
"""Why a call failed, by the codes of AWS and by the names of botocore's exceptions."""


def _answer(error: BaseException) -> tuple[str, str, int]:
    """Return AWS's code, its words and the HTTP status; nothing where the error is not an answer of AWS."""
    response: Mapping[str, Mapping[str, Any]] | None = getattr(error, "response", None)
    if not isinstance(response, Mapping):
        return "", "", 0
    details = response.get("Error", {})
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return str(details.get("Code")), str(details.get("Message")), status if isinstance(status, int) else 0


def code_of(error: BaseException) -> str:
    """Return AWS's code, or nothing where the error is not an answer of AWS."""
    return _answer(error)[0]


def find_reason(error: BaseException) -> Reason:
    """Return why a call failed."""
    code, words, status = _answer(error)
    # AWS gives one code for several reasons, and only its words tell these apart.
    if "Signature expired" in words or "Signature not yet current" in words:
        return CLOCK
    if code == "AccessDeniedException" and "KMS" in words:
        return KMS_DENIED
    known = REASONS.get(code) or reason_by_class(error, REASONS)
    if known is not None:
        return known
    if status == HTTPStatus.FORBIDDEN:
        return DENIED
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return Reason(f"AWS refused it with status {status}")
    what = f"status {status}" if status else type(error).__name__
    return Reason(f"AWS Secrets Manager failed with {what}", certain=False)
