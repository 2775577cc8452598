"""Why a call to AWS failed, from botocore's exceptions and AWS's codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from favcrm.stores._services import Reason, reason_of

FORBIDDEN = 403
REFUSALS = range(400, 500)

CREDENTIALS = "Check the AWS credentials and how they are found, and try again."
NETWORK = "Check the region, the endpoint and the network, and try again."
KMS = (
    "Check the KMS key of the secret: that it is enabled, and that kms:Encrypt, kms:Decrypt and "
    "kms:GenerateDataKey are allowed on it."
)
EXISTS = "ResourceExistsException"
MISSING = "ResourceNotFoundException"
DENIED = Reason(
    "AWS does not allow it",
    "Allow secretsmanager:CreateSecret, PutSecretValue, GetSecretValue and DeleteSecret on the store's prefix.",
)
REFUSED_CREDENTIALS = Reason("AWS does not accept the credentials", CREDENTIALS)
NO_CREDENTIALS = Reason("no AWS credentials were found", CREDENTIALS)
EXPIRED = Reason(
    "the AWS credentials have expired", "Get new ones, such as by signing in again, and try again."
)
SIGN_IN = Reason("the AWS sign-in has expired or was never made", "Run: aws sso login (or aws login).")
CLOCK = Reason(
    "AWS does not accept the time of this machine", "Set the clock of this machine, and try again."
)
KMS_DENIED = Reason("AWS does not allow the use of the KMS key", KMS)
KMS_FAILED = Reason("AWS could not use the KMS key", KMS)
BUSY = Reason("AWS takes no more requests for now", "Wait a minute, and try again.")
PROFILE = Reason(
    "the AWS configuration cannot be used", "Check AWS_PROFILE and the files in ~/.aws, and try again."
)
UNREACHABLE = Reason("AWS Secrets Manager cannot be reached", NETWORK)
REASONS = {
    "UnrecognizedClientException": REFUSED_CREDENTIALS,
    "InvalidClientTokenId": REFUSED_CREDENTIALS,
    "InvalidSignatureException": REFUSED_CREDENTIALS,
    "SignatureDoesNotMatch": REFUSED_CREDENTIALS,
    "IncompleteSignature": REFUSED_CREDENTIALS,
    "IncompleteSignatureException": REFUSED_CREDENTIALS,
    "MissingAuthenticationToken": REFUSED_CREDENTIALS,
    "MissingAuthenticationTokenException": REFUSED_CREDENTIALS,
    "ExpiredToken": EXPIRED,
    "ExpiredTokenException": EXPIRED,
    "RequestExpired": CLOCK,
    "RequestInTheFuture": CLOCK,
    "RequestTimeTooSkewed": CLOCK,
    "AccessDeniedException": DENIED,
    "OptInRequired": Reason("the AWS account may not use this region or service", NETWORK),
    "EncryptionFailure": KMS_FAILED,
    "DecryptionFailure": KMS_FAILED,
    "DisabledException": KMS_FAILED,
    "KMSAccessDeniedException": KMS_DENIED,
    "KMSDisabledException": KMS_FAILED,
    "KMSInvalidStateException": KMS_FAILED,
    "KMSNotFoundException": KMS_FAILED,
    "LimitExceededException": Reason(
        "the AWS account has as many secrets, or versions of this one, as its quota allows",
        "Delete what is not needed, or ask AWS for a higher quota.",
    ),
    "PreconditionNotMetException": Reason(
        "AWS does not do it while the secret is being replicated or changed", "Wait a minute, and try again."
    ),
    "RequestLimitExceeded": BUSY,
    "Throttling": BUSY,
    "ThrottledException": BUSY,
    "ThrottlingException": BUSY,
    "TooManyRequestsException": BUSY,
    MISSING: Reason("AWS finds no such secret, or no such KMS key", KMS),
    "InvalidRequestException": Reason(
        "AWS does not do it in the state the secret is in, such as scheduled for deletion",
        "Restore the secret or wait until it is deleted, or use another prefix.",
    ),
    "NoCredentialsError": NO_CREDENTIALS,
    "PartialCredentialsError": NO_CREDENTIALS,
    "CredentialRetrievalError": NO_CREDENTIALS,
    "SSOError": SIGN_IN,
    "TokenRetrievalError": SIGN_IN,
    "UnauthorizedSSOTokenError": SIGN_IN,
    "LoginError": SIGN_IN,
    "UnauthorizedException": SIGN_IN,
    "ProfileNotFound": PROFILE,
    "ConfigParseError": PROFILE,
    "ConfigNotFound": PROFILE,
    "InvalidConfigError": PROFILE,
    "NoRegionError": Reason("no AWS region is set", "Say region=..., or set AWS_DEFAULT_REGION."),
    "InvalidRegionError": Reason("the AWS region is not one", "Say region=..., or set AWS_DEFAULT_REGION."),
    "EndpointConnectionError": UNREACHABLE,
    "ConnectTimeoutError": UNREACHABLE,
    "ProxyConnectionError": UNREACHABLE,
    "SSLError": UNREACHABLE,
    "ReadTimeoutError": Reason("AWS Secrets Manager did not answer in time", NETWORK, certain=False),
}
IN_OTHER_WORDS = (
    ("InvalidSignatureException", "Signature expired", CLOCK),
    ("InvalidSignatureException", "Signature not yet current", CLOCK),
    ("SignatureDoesNotMatch", "Signature expired", CLOCK),
    ("SignatureDoesNotMatch", "Signature not yet current", CLOCK),
    ("AccessDeniedException", "KMS", KMS_DENIED),
)
"""Codes that AWS gives for several reasons, with the words that tell which one it is."""


def _answer(error: BaseException) -> tuple[str, str, int]:
    """Return AWS's code, its words and the HTTP status, where the error is an answer of AWS."""
    response: Mapping[str, Mapping[str, Any]] | None = getattr(error, "response", None)
    if not isinstance(response, Mapping):
        return "", "", 0
    told = response.get("Error", {})
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return str(told.get("Code")), str(told.get("Message")), status if isinstance(status, int) else 0


def code_of(error: BaseException) -> str:
    """Return AWS's code, or nothing where the error is not an answer of AWS."""
    return _answer(error)[0]


def why(error: BaseException) -> Reason:
    """Return why a call failed."""
    code, words, status = _answer(error)
    for ambiguous, sign, reason in IN_OTHER_WORDS:
        if code == ambiguous and sign in words:
            return reason
    known = REASONS.get(code) or reason_of(error, REASONS)
    if known is not None:
        return known
    if status == FORBIDDEN:
        return DENIED
    if status in REFUSALS:
        return Reason(f"AWS refused it with status {status}")
    what = f"status {status}" if status else type(error).__name__
    return Reason(f"AWS Secrets Manager failed with {what}", certain=False)
