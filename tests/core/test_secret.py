"""Rule 7: nothing but `reveal` shows a secret."""

from __future__ import annotations

import copy
import inspect
import json
import logging
import pickle
import secrets
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from cattrs import Converter

from favcrm import InvalidInputError, Secret, SecretRef, Workspace


@pytest.fixture
def value() -> str:
    return f"fav_mcp_{secrets.token_urlsafe(24)}"


SHOWN: dict[str, Callable[[Secret], str]] = {
    "repr": repr,
    "str": str,
    "format": lambda secret: f"{secret:>30}",
    "percent": lambda secret: "%s %r" % (secret, secret),  # noqa: UP031  # how logging formats
    "json": lambda secret: json.dumps({"key": secret}, default=str),
    "asdict": lambda secret: repr(attrs.asdict(Workspace(api_key=secret))),
    "unstructure": lambda secret: repr(Converter().unstructure(Workspace(api_key=secret))),
    "workspace": lambda secret: repr(Workspace(api_key=secret)),
    "copy": lambda secret: repr(copy.copy(secret)),
    "deepcopy": lambda secret: repr(copy.deepcopy(Workspace(api_key=secret))),
    "container": lambda secret: repr([{"key": secret}]),
    "exception": lambda secret: repr(ValueError(secret)) + str(ValueError(secret)),
    "documentation": lambda secret: str(inspect.getdoc(secret)),
}


@pytest.mark.parametrize("show", SHOWN.values(), ids=SHOWN.keys())
def test_it_shows_a_mask(show: Callable[[Secret], str], value: str) -> None:
    shown = show(Secret(value))
    assert value not in shown
    assert value[:20] not in shown


def test_its_mask_ends_with_the_fingerprint(value: str) -> None:
    assert repr(Secret(value)) == f"Secret('...{value[-4:]}')"
    assert Secret(value).fingerprint == f"...{value[-4:]}"


@pytest.mark.parametrize("value", [5, None])
def test_a_secret_of_no_text_raises_invalid_input_error(value: Any) -> None:
    with pytest.raises(InvalidInputError, match="value: must be text"):
        Secret(value)


def test_a_short_secret_has_no_fingerprint() -> None:
    assert str(Secret("123456")) == "..."


def test_reveal_shows_it(value: str) -> None:
    assert Secret(value).reveal() == value


def test_equality_is_by_value(value: str) -> None:
    assert Secret(value) == Secret(value)
    assert Secret(value) != Secret(value + "x")
    assert Secret(value) != value


def test_it_cannot_be_hashed(value: str) -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Secret(value))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_cannot_be_pickled(protocol: int, value: str) -> None:
    with pytest.raises(TypeError, match="never pickled") as caught:
        pickle.dumps(Workspace(api_key=Secret(value)), protocol)
    assert value not in str(caught.value)


def test_it_has_no_state_to_take(value: str) -> None:
    with pytest.raises(TypeError):
        vars(Secret(value))
    with pytest.raises(TypeError):
        Secret(value).__getstate__()


def test_it_is_none_of_the_kinds_that_serializers_open(value: str) -> None:
    secret = Secret(value)
    assert not isinstance(secret, str)
    assert not hasattr(secret, "get_secret_value")
    assert not hasattr(secret, "__dict__")
    assert not attrs.has(Secret)


@pytest.mark.parametrize("text", ["foo", "", "://favcrm/acme", "memory://", 5])
def test_what_is_no_reference_is_refused(text: Any) -> None:
    with pytest.raises(InvalidInputError, match="ref: must be a reference"):
        SecretRef(text)


def test_a_reference_says_what_it_is_made_of() -> None:
    assert list(inspect.signature(SecretRef).parameters) == ["ref"]
    ref = SecretRef("memory://favcrm/acme")
    assert pickle.loads(pickle.dumps(ref)) == copy.deepcopy(ref) == ref  # noqa: S301 - made here


def test_it_is_masked_in_a_log(value: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("anywhere").debug("key %s", Secret(value))
    assert value not in caplog.text
    assert value[-4:] in caplog.text
