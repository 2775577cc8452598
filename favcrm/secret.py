"""The key, as an object that does not show itself.

It is a class of its own on purpose: serializers look inside str subclasses, pydantic models and dataclasses,
and some call any method named ``get_secret_value`` and write down what it returns.
"""

from __future__ import annotations

from typing import ClassVar, Never, Self, cast, final
from urllib.parse import quote, unquote

from favcrm.errors import InvalidInputError, Problem

__all__ = ["Secret", "SecretRef"]

SERVICE = "favcrm"
SHORTEST_WITH_FINGERPRINT = 16


@final
class Secret:
    """A secret text. Everything but `reveal` shows a mask.

    Args:
        value: The text to keep.

    Raises:
        InvalidInputError: The value is no text.

    Example:
        >>> key = Secret("not-a-real-key-6789")
        >>> key
        Secret('...6789')
        >>> f"Bearer {key}"
        'Bearer ...6789'
        >>> key.reveal()
        'not-a-real-key-6789'
    """

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        if not isinstance(cast("object", value), str):
            raise InvalidInputError([Problem("value", "must be text")])
        self.__value = value

    def reveal(self) -> str:
        """Return the secret itself. Hand it to what needs it, and keep it in no variable longer than that."""
        return self.__value

    @property
    def fingerprint(self) -> str:
        """The last four characters behind dots, enough to tell two keys apart; dots alone where it is short."""
        return f"...{self.__value[-4:]}" if len(self.__value) >= SHORTEST_WITH_FINGERPRINT else "..."

    def __repr__(self) -> str:
        return f"Secret({self.fingerprint!r})"

    def __str__(self) -> str:
        return self.fingerprint

    def __format__(self, spec: str) -> str:
        return format(self.fingerprint, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        from hmac import compare_digest

        return compare_digest(self.__value.encode(), other.__value.encode())

    # Equal secrets would have equal hashes, from which a short secret can be guessed.
    __hash__: ClassVar[None] = None  # type: ignore[assignment]  # the documented way to be unhashable

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __getstate__(self) -> Never:
        raise TypeError("a Secret is never pickled; store it and keep its reference")

    def __reduce_ex__(self, protocol: object) -> Never:
        self.__getstate__()


class SecretRef(str):
    """Where a stored secret is, such as ``memory://favcrm/acme``. Not secret: keep it anywhere.

    Args:
        ref: The text of a reference.

    Raises:
        InvalidInputError: The text is no reference.

    Example:
        >>> ref = SecretRef.of("memory", "Stretch + Breathe")
        >>> ref
        'memory://favcrm/Stretch%20%2B%20Breathe'
        >>> ref.scheme, ref.name
        ('memory', 'Stretch + Breathe')
    """

    __slots__ = ()

    def __new__(cls, ref: str) -> Self:
        """Return a reference from its text.

        Raises:
            InvalidInputError: The text is no reference.
        """
        if isinstance(cast("object", ref), str) and all(ref.partition("://")):
            return super().__new__(cls, ref)
        raise InvalidInputError([Problem("ref", "must be a reference, such as memory://favcrm/acme")])

    @classmethod
    def of(cls, scheme: str, name: str) -> SecretRef:
        """Return the reference of a secret.

        Args:
            scheme: The kind of store, such as ``memory``.
            name: The name that the secret has there.
        """
        return cls(f"{scheme}://{SERVICE}/{quote(name, safe='')}")

    @property
    def scheme(self) -> str:
        """The kind of store."""
        return self.partition("://")[0]

    @property
    def name(self) -> str:
        """The name that the secret has in its store."""
        return unquote(self.rpartition("/")[2])
