"""The key for people's own HTTP clients."""

from __future__ import annotations

from collections.abc import Callable, Generator, MutableMapping
from functools import partial
from http import HTTPStatus
from typing import Protocol, TypeVar

import httpx

from favcrm._boundary import boundaries
from favcrm.endpoint import same_origin
from favcrm.secret import Secret
from favcrm.settings import Settings, as_secret
from favcrm.transports.http.send import bearer

__all__ = ["BearerAuth"]


class SignableRequest(Protocol):
    """A request of httpx or httpx2, as far as signing it goes."""

    @property
    def url(self) -> object:
        """Where it goes."""
        ...

    @property
    def headers(self) -> MutableMapping[str, str]:
        """Its headers."""
        ...


RequestT = TypeVar("RequestT", bound=SignableRequest)


@boundaries
class BearerAuth(httpx.Auth):
    """Adds the key to requests of your own httpx or httpx2 client, read at the moment of each request.

    The key is added only to requests to the endpoint's own origin. If the server refuses the key with 401, and the key
    was replaced meanwhile, an httpx client makes the request once more with the new key. An httpx2 client does not
    repeat the request: your program gets the 401.

    Args:
        api_key: The key, or a function that returns it, such as ``lambda: store.get(ref)``.
        endpoint: The address of the tools; from the environment where it is None.

    Raises:
        InvalidInputError: The endpoint cannot be used.

    Example:
        >>> import httpx
        >>> client = httpx.Client(auth=BearerAuth("not-a-real-key-6789"))
    """

    def __init__(self, api_key: str | Secret | Callable[[], Secret], *, endpoint: str | None = None) -> None:
        self._read_key = api_key if callable(api_key) else partial(as_secret, as_secret(api_key))
        # No frame that an error passes through holds the key.
        del api_key
        self._url = Settings.load(endpoint=endpoint, from_file={"endpoint"}).endpoint

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign a request of an httpx client, and once more if the key was replaced meanwhile."""
        response = yield self(request)
        refused = request.headers.get("Authorization")
        if (
            response.status_code == HTTPStatus.UNAUTHORIZED
            and self(request).headers.get("Authorization") != refused
        ):
            yield request

    def __call__(self, request: RequestT) -> RequestT:
        """Sign a request of an httpx2 client, which calls what is not of its own Auth class."""
        if same_origin(str(request.url), self._url):
            request.headers["Authorization"] = bearer(self._read_key())
        return request
