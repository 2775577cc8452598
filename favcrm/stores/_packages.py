"""The packages that come with extras. Each is imported when it is used, by a statement, which freezers see.

They are returned as plain modules, since most of them have no types of their own.
"""

from __future__ import annotations

from types import ModuleType

from favcrm.errors import StoreError


def boto3() -> tuple[ModuleType, ModuleType]:
    """Return ``boto3.session`` and ``botocore.config``."""
    try:
        import boto3.session  # type: ignore[import-untyped]
        import botocore.config  # type: ignore[import-untyped]
    except ImportError:
        raise _missing("boto3", "aws") from None
    return boto3.session, botocore.config


def dotenv() -> ModuleType:
    """Return ``dotenv``."""
    try:
        import dotenv
    except ImportError:
        raise _missing("python-dotenv", "dotenv") from None
    return dotenv


def hvac() -> ModuleType:
    """Return ``hvac``."""
    try:
        import hvac  # type: ignore[import-untyped]
    except ImportError:
        raise _missing("hvac", "vault") from None
    module: ModuleType = hvac
    return module


def keyring() -> ModuleType:
    """Return ``keyring``."""
    try:
        import keyring
    except ImportError:
        raise _missing("keyring", "keyring") from None
    return keyring


def secretstorage() -> ModuleType:
    """Return ``secretstorage``, which comes with keyring on Linux."""
    try:
        import secretstorage
    except ImportError:
        raise _missing("secretstorage", "keyring") from None
    return secretstorage


def _missing(package: str, extra: str) -> StoreError:
    return StoreError(
        f"This store needs the package {package}, which is not installed.",
        next_step=f'Run: pip install "favcrm[{extra}]"',
    )
