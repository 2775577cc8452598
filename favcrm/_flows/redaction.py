"""Keys and one-time tokens in what a tool is asked and answers.

A secret is known by the name of its field, or by the form of a FavCRM key in any text. In the data of a result it
becomes a `Secret`, so that nobody sees it and nobody loses it; everywhere else it is masked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias, cast
from urllib.parse import quote

from attrs import frozen

from favcrm._mcp import payloads
from favcrm._patterns import lazy_pattern
from favcrm._text import MASK, without_unseen
from favcrm.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable

    from favcrm.models import ToolData
    from favcrm.typing import JSON

# Names without capitals and underscores: apiKey, api_key and API-Key are one name.
SECRET_NAME = lazy_pattern(
    r"(tokens?|(api|access|secret|private|signing|mcp)keys?|secret|password|passphrase|invit[a-z]*code|^otp)$"
)
# A token of these names leads to the next page of a list, and gives no access.
PAGING = lazy_pattern(r"page|pagin|next|prev|cursor|continu|resum|sync")
LINK = lazy_pattern(r"(invit|survey|magic|reset)[a-z]*(link|url|uri|href)$")
PLAIN_LINKS = frozenset({"link", "url", "uri", "href"})
# These fields wrap a payload, so their names say nothing about what is in them.
ENVELOPES = frozenset({"structuredContent", "result", "content", "data", "value"})
# A key in a sentence; a placeholder (three dots, or nothing but x after the prefix) is not one.
KEY_IN_WORDS = lazy_pattern(r"(?<![A-Za-z0-9_-])fav_[a-z0-9]+_(?![Xx]+(?![A-Za-z0-9_-]))[A-Za-z0-9_-]{16,}")
IN_LINK = lazy_pattern(r"""(?<=[?&#;])([\w.-]{1,64}=)([^&#;\s"'<>]+)""")
# A text without any of these has no secret; looking for them takes a hundredth of the time of a search.
SIGNS = ("fav_", "token", "key", "secret", "pass", "otp", "invit", "survey", "magic", "reset")
# A shorter secret is hidden in its own field only: looked for everywhere, it would hide other things.
SHORTEST_TO_SEARCH = 8
MOST_TO_SEARCH = 100


@frozen(eq=False, repr=False)
class Name:
    """The name of a field, and that of the field, or the tool, around it."""

    own: str
    around: str = ""

    def inside(self, field: str) -> Name:
        """Return the name of a field in what this names."""
        return self if field in ENVELOPES else Name(field, self.own)

    @property
    def is_secret(self) -> bool:
        """Whether a text of this name is a key, a one-time token, or a link with one in it."""
        own, around = _folded(self.own), _folded(self.around)
        if SECRET_NAME.search(own):
            return not PAGING.search(own)
        return bool(LINK.search(own)) or (own in PLAIN_LINKS and "invit" in around)


Leaf: TypeAlias = Callable[[str, Name], "ToolData"]


@frozen(eq=False, repr=False)
class Redaction:
    """What hides the secrets of one result.

    Attributes:
        name: The tool's name.
        found: The secrets that are looked for in every text.
        needed: Whether there may be anything to hide.
    """

    name: Name
    found: tuple[str, ...] = ()
    needed: bool = True

    @classmethod
    def of(cls, value: JSON, tool: str) -> Redaction:
        """Return what hides the secrets that a result, or the arguments of a call, has in it."""
        if not _shows_signs(value, tool):
            return cls(Name(tool), needed=False)
        return cls(Name(tool), find_secrets(value, tool))

    def data(self, value: JSON) -> ToolData:
        """Return a value with a `Secret` in place of each text that holds one."""
        return _rebuild(value, self.name, self._as_secret) if self.needed else cast("ToolData", value)

    def masked(self, value: JSON) -> JSON:
        """Return a value with every secret in it masked."""
        return cast("JSON", _rebuild(value, self.name, self._as_text)) if self.needed else value

    def text(self, text: str) -> str:
        """Return a text with every secret in it masked, also where it is JSON."""
        if not self.needed:
            return text
        # A reader does not see what such a key is split by.
        if KEY_IN_WORDS.search(seen := without_unseen(text)):
            text = seen
        parsed = payloads.as_json(text) if text.lstrip()[:1] in {"{", "["} else None
        if parsed is not None and (shown := self.masked(parsed)) != parsed:
            text = json.dumps(shown, ensure_ascii=False)
        for secret in self.found:
            text = text.replace(secret, MASK).replace(quote(secret, safe=""), MASK)
        return IN_LINK.sub(_mask_parameter, KEY_IN_WORDS.sub(MASK, text))

    def _as_secret(self, text: str, name: Name) -> ToolData:
        return Secret(text) if self._as_text(text, name) != text else text

    def _as_text(self, text: str, name: Name) -> str:
        return MASK if text and name.is_secret else self.text(text)


def _shows_signs(value: JSON, tool: str) -> bool:
    """Tell whether there may be a secret in a value; also where it is too deep to be looked into at once."""
    text = payloads.as_text(value)
    searched = without_unseen(f"{tool} {text}".lower())
    return not text or any(sign in searched for sign in SIGNS)


def find_secrets(value: JSON, tool: str) -> tuple[str, ...]:
    """Return the texts that are secrets by their names and long enough to be looked for elsewhere."""
    found: dict[str, None] = {}

    def note(text: str, name: Name) -> str:
        if name.is_secret:
            found[text] = None
        elif text.lstrip()[:1] in {"{", "["}:
            _rebuild(payloads.as_json(text), name, note)
        return text

    _rebuild(value, Name(tool), note)
    return tuple([text for text in found if len(text) >= SHORTEST_TO_SEARCH][:MOST_TO_SEARCH])


def mask_fields(value: JSON) -> JSON:
    """Return a value with every secret in it masked; None where it is too deep for that."""
    try:
        return Redaction.of(value, "").masked(value)
    except RecursionError:
        return None


def _rebuild(value: JSON, name: Name, leaf: Leaf) -> ToolData:
    if isinstance(value, str):
        return leaf(value, name)
    if isinstance(value, Mapping):
        return {
            KEY_IN_WORDS.sub(MASK, str(field)): _rebuild(inner, name.inside(str(field)), leaf)
            for field, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_rebuild(inner, name, leaf) for inner in value]
    return value


def _mask_parameter(found: re.Match[str]) -> str:
    return found[1] + (MASK if Name(found[1]).is_secret else found[2])


def _folded(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())


def hidden_in(arguments: Mapping[str, JSON], tool: str) -> Iterable[str]:
    """Return the secrets among the arguments of a call, which no error may repeat."""
    try:
        return find_secrets(arguments, tool) if arguments else ()
    except RecursionError:
        return ()
