"""IANA time zone names: what can be one, and what was probably meant.

Loaded only when a time zone is given. The data of this machine only gives hints: some machines lack older names,
such as ``US/Pacific``, others lack new ones, and the server decides with its own.
"""

from __future__ import annotations

import re
import zoneinfo
from difflib import get_close_matches

__all__ = ["can_be_zone", "find_near_zones"]

# IANA keeps digits to ``Etc``, since elsewhere they would read as a difference from UTC.
AREA_AND_CITY = re.compile(r"[A-Z][A-Za-z_-]*(/[A-Z][A-Za-z_-]*){1,2}|Etc/GMT[+-]?[0-9]{1,2}")
# IANA makes no new names without an area.
WITHOUT_AREA = frozenset({
    "CET", "CST6CDT", "Cuba", "EET", "EST", "EST5EDT", "Egypt", "Eire", "GB", "GB-Eire", "GMT", "GMT+0",
    "GMT-0", "GMT0", "Greenwich", "HST", "Hongkong", "Iceland", "Iran", "Israel", "Jamaica", "Japan",
    "Kwajalein", "Libya", "MET", "MST", "MST7MDT", "NZ", "NZ-CHAT", "Navajo", "PRC", "PST8PDT", "Poland",
    "Portugal", "ROC", "ROK", "Singapore", "Turkey", "UCT", "UTC", "Universal", "W-SU", "WET", "Zulu",
})  # fmt: skip
CONTINENTS = frozenset(
    {"Africa", "America", "Antarctica", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific"}
)
DIRECTIONS = frozenset({"North", "South", "West"})
# Less alike, Salvador in Brazil is taken for El Salvador, three hours away.
CLOSE = 0.9


def can_be_zone(name: str) -> bool:
    """Tell whether a text has the form of a time zone's name."""
    return name in WITHOUT_AREA or AREA_AND_CITY.fullmatch(name) is not None


def find_near_zones(text: str) -> list[str]:
    """Return the zones that were probably meant, since the text is nearly their name or their city's.

    An abbreviation is near none, and neither is ``GMT+8``: ``Etc/GMT+8`` is eight hours behind GMT, not ahead.
    """
    places: dict[str, list[str]] = {}
    for zone in sorted(filter(AREA_AND_CITY.fullmatch, zoneinfo.available_timezones())):
        area, *_, city = zone.split("/")
        if area == "Etc":
            continue
        places.setdefault(_folded(zone), []).append(zone)
        if area in CONTINENTS and city not in DIRECTIONS:
            places.setdefault(_folded(city), []).append(zone)
    near = get_close_matches(_folded(text), places, n=1, cutoff=CLOSE)
    return [zone for place in near for zone in places[place]]


def _folded(name: str) -> str:
    return name.casefold().replace(" ", "_")
