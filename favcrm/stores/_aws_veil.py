"""Keeps a key out of what botocore writes into its log.

At DEBUG, botocore logs each request before it is signed, and each answer before it is parsed, with the secret in it.
So a request is made with a placeholder, which is exchanged for the secret when the request is about to be signed;
and in an answer the secret is exchanged for a placeholder before it is parsed. Both are botocore's own events.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from threading import local
from typing import Protocol, cast

from favcrm.secret import Secret

SERVICE = "secrets-manager"


class Events(Protocol):
    """A client's events, as botocore has them in ``client.meta.events``."""

    def register_first(self, event_name: str, handler: object, /) -> None:
        """Call the handler before others."""
        ...


class Request(Protocol):
    """A request that is about to be signed."""

    data: bytes


class Veil:
    """Hides the secrets of one store from the log of its client.

    Other calls that are made with the same client stay as they are.
    """

    def __init__(self) -> None:
        self._sent = local()
        self._read = local()
        self._hung = False

    def hang(self, client: object) -> None:
        """Hide what passes through the client. One that is not botocore's has no such log."""
        events: Events | None = getattr(getattr(client, "meta", None), "events", None)
        if events is not None:
            events.register_first(f"request-created.{SERVICE}", self._put_in)
            events.register_first(f"before-parse.{SERVICE}.GetSecretValue", self._take_out)
            self._hung = True

    @contextmanager
    def sending(self, secret: Secret) -> Generator[str, None, None]:
        """Give what stands for a secret in the one call that follows in this thread."""
        if not self._hung:
            yield secret.reveal()
            return
        placeholder = f"hidden-{secrets.token_hex(16)}"
        self._sent.pair = (placeholder, secret)
        try:
            yield placeholder
        finally:
            del self._sent.pair

    @contextmanager
    def reading(self) -> Generator[dict[str, Secret], None, None]:
        """Give what the placeholders stand for in the answer to the one call that follows in this thread."""
        self._read.found = found = dict[str, Secret]()
        try:
            yield found
        finally:
            del self._read.found

    def _put_in(self, request: Request, **_: object) -> None:
        pair: tuple[str, Secret] | None = getattr(self._sent, "pair", None)
        if pair is not None:
            placeholder, secret = pair
            request.data = request.data.replace(
                json.dumps(placeholder).encode(), json.dumps(secret.reveal()).encode()
            )

    def _take_out(self, response_dict: dict[str, object], **_: object) -> None:
        found: dict[str, Secret] | None = getattr(self._read, "found", None)
        if found is None or response_dict["status_code"] != 200:  # noqa: PLR2004  # the one good answer
            return
        answer = cast("dict[str, object]", json.loads(cast("bytes", response_dict["body"])))
        value = answer.get("SecretString")
        if isinstance(value, str):
            placeholder = f"hidden-{secrets.token_hex(16)}"
            found[placeholder] = Secret(value)
            answer["SecretString"] = placeholder
            response_dict["body"] = json.dumps(answer).encode()
