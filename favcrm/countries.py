"""ISO 3166-1 alpha-2 country codes, and what people write in their place.

Loaded only when a country is given.
"""

from __future__ import annotations

from difflib import get_close_matches

__all__ = ["COUNTRIES", "near_match"]

# The 249 of the standard, and XK: the standard leaves that one to its users, and it is in use for Kosovo everywhere.
CODES = """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT
    BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH
    ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT
    HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS
    LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI
    NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG
    SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG
    UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW XK
"""
COUNTRIES = frozenset(CODES.split())

# Names and alpha-3 codes that are often written. The start of an alpha-3 code would lead astray: AUT is Austria.
OFTEN_WRITTEN: dict[str, tuple[str, ...]] = {
    "AE": ("UAE", "UNITED ARAB EMIRATES", "ARE"), "AR": ("ARGENTINA", "ARG"),
    "AT": ("AUSTRIA", "AUT"), "AU": ("AUSTRALIA", "AUS"), "BE": ("BELGIUM", "BEL"),
    "BR": ("BRAZIL", "BRA"), "CA": ("CANADA", "CAN"), "CH": ("SWITZERLAND", "CHE"), "CL": ("CHILE",),
    "CN": ("CHINA", "CHN"), "DE": ("GERMANY", "DEU"), "DK": ("DENMARK", "DNK"), "EG": ("EGYPT",),
    "ES": ("SPAIN", "ESP", "SP"), "FI": ("FINLAND", "FIN"), "FR": ("FRANCE", "FRA"),
    "GB": ("UK", "EN", "ENGLAND", "GREAT BRITAIN", "UNITED KINGDOM", "GBR"), "GR": ("GREECE", "EL"),
    "HK": ("HONG KONG", "HKG"), "ID": ("INDONESIA", "IDN"), "IE": ("IRELAND", "IRL"),
    "IL": ("ISRAEL", "ISR"), "IN": ("INDIA", "IND"), "IT": ("ITALY", "ITA"),
    "JP": ("JAPAN", "JA", "JPN"), "KP": ("NORTH KOREA",), "KR": ("KOREA", "SOUTH KOREA", "KOR"),
    "LU": ("LUXEMBOURG",), "MO": ("MACAU", "MACAO", "MAC"), "MX": ("MEXICO", "MEX"),
    "MY": ("MALAYSIA", "MYS"), "NL": ("NETHERLANDS", "HOLLAND", "NLD"), "NO": ("NORWAY", "NOR"),
    "NZ": ("NEW ZEALAND", "NZL"), "PH": ("PHILIPPINES", "PHL"), "PL": ("POLAND", "POL"),
    "PT": ("PORTUGAL", "PRT"), "SA": ("SAUDI ARABIA",), "SE": ("SWEDEN", "SWE"),
    "SG": ("SINGAPORE", "SGP"), "TH": ("THAILAND", "THA"), "TR": ("TURKEY",),
    "TW": ("TAIWAN", "TWN"), "US": ("USA", "UNITED STATES"), "VN": ("VIETNAM", "VNM"),
    "ZA": ("SOUTH AFRICA", "ZAF"),
}  # fmt: skip
CODE_OF: dict[str, str] = {text: code for code, texts in OFTEN_WRITTEN.items() for text in texts}
# With less, Iceland would be taken for Ireland.
LEAST_LIKENESS = 0.9


def near_match(text: str) -> str | None:
    """Return the code that was probably meant, or None."""
    matches = get_close_matches(text.strip().upper(), CODE_OF, n=1, cutoff=LEAST_LIKENESS)
    return CODE_OF[matches[0]] if matches else None
