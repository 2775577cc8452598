"""The ``WWW-Authenticate`` header, with which a server says why it refused a key (RFC 9110, section 11.6.1)."""

from __future__ import annotations

from favcrm._patterns import lazy_pattern

KEPT = frozenset({"error", "error_description", "resource_metadata", "scope"})
INSUFFICIENT_SCOPE = "insufficient_scope"

# A name alone is a scheme, and begins a challenge. A value without quotes may be more than a token here: addresses
# are sent so too. Text in quotes that belongs to no name is passed over, with whatever stands in it. A quote that is
# never closed goes to the end: it is not read again from each quote in it.
PART = lazy_pattern(
    r"""(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*+)"?|(?P<plain>[^\s,"]+)))?"""
    r"""|"(?:[^"\\]|\\.)*+"?"""
)
QUOTED_PAIR = lazy_pattern(r"\\(.)")


def read_challenge(header: str) -> dict[str, str]:
    """Return what is kept of the first challenge that names an error, or else of the first that tells anything."""
    challenges: list[dict[str, str]] = [{}]
    for part in PART.finditer(header):
        name, quoted, plain = part["name"], part["quoted"], part["plain"]
        if name is None:
            continue
        if quoted is None and plain is None:
            challenges.append({})
        elif name.lower() in KEPT:
            value = plain if quoted is None else QUOTED_PAIR.sub(r"\1", quoted)
            challenges[-1].setdefault(name.lower(), value)
    return max(challenges, key=lambda told: ("error" in told, bool(told)))
