"""What goes in is checked before anything is called, all of it at once."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from favcrm import Industry, InvalidInputError, Registration, RetryPolicy
from favcrm._flows.checks import LONGEST_REGISTRATION_ID, check_request_id, parse_code
from favcrm.countries import COUNTRIES
from favcrm.timezones import can_be_zone

GOOD = {"email": "you@example.com", "organisation_name": "Stretch + Breathe"}


def problems_of(**fields: Any) -> dict[str, str]:
    with pytest.raises(InvalidInputError) as caught:
        Registration(**{**GOOD, **fields})
    return dict(caught.value.problems)


@pytest.mark.parametrize(
    "email",
    ["a.b+c@sub.example.co", "o'hara@example.com", "x_-1@ex-ample.org", "  you@example.com "],
)
def test_a_valid_email_is_trimmed_and_taken(email: str) -> None:
    assert Registration(email=email, organisation_name="Acme").email == email.strip()


@pytest.mark.parametrize(
    "email",
    [
        "",
        "you@",
        "@example.com",
        ".you@example.com",
        "a..b@example.com",
        "you@example.c",
        "you@example",
        "yöu@example.com",
        None,
        7,
        "you@example.com\nbcc: x@example.com",
        "a.@example.com",
    ],
)
def test_an_invalid_email_is_refused(email: object) -> None:
    assert problems_of(email=email) == {"email": "must be an email address: a name, an @ and a domain"}


@pytest.mark.parametrize(
    ("email", "ascii_form"),
    [
        ("you@bücher.example", "you@xn--bcher-kva.example"),
        ("you@пример.рф", "you@xn--e1afmkfd.xn--p1ai"),
    ],
)
def test_international_domains_are_sent_in_their_ascii_form(email: str, ascii_form: str) -> None:
    assert Registration(email=email, organisation_name="Acme").email == ascii_form


def test_an_invalid_international_domain_is_refused() -> None:
    assert "email" in problems_of(email="you@-ü.example")


@pytest.mark.parametrize("name", ["x" * 80, "  ab  "])
def test_a_name_of_2_to_80_characters_is_trimmed_and_taken(name: str) -> None:
    assert Registration(email="you@example.com", organisation_name=name).organisation_name == name.strip()


@pytest.mark.parametrize("name", [" a ", "x" * 81, None, 12])
def test_a_name_of_another_length_is_refused(name: object) -> None:
    assert problems_of(organisation_name=name) == {"organisation_name": "must be 2 to 80 characters"}


@pytest.mark.parametrize("industry", [*Industry, " Fitness ", "OTHER"])
def test_a_known_industry_is_taken_in_any_spelling(industry: str) -> None:
    chosen = Registration(**GOOD, industry=industry).industry
    assert isinstance(chosen, Industry)
    assert chosen.value == industry.strip().lower()


@pytest.mark.parametrize(
    ("industry", "hint"),
    [
        ("fitnes", "did you mean fitness?"),
        (" RETIAL", "did you mean retail?"),
        ("?", "services, other"),
        (3, "services, other"),
    ],
)
def test_a_misspelt_or_empty_industry_is_refused_with_a_hint(industry: object, hint: str) -> None:
    assert problems_of(industry=industry)["industry"].endswith(hint)


@pytest.mark.parametrize("industry", ["tech", "Catering", "tech " * 10_000, "健身"])
def test_an_unknown_industry_is_sent_as_other_with_a_warning(industry: str) -> None:
    with pytest.warns(UserWarning, match="not one of beauty, .*so it is sent as other") as warned:
        assert Registration(**GOOD, industry=industry).industry is Industry.OTHER
    assert [warning.filename for warning in warned] == [__file__]


def test_the_industry_other_is_taken_without_a_warning() -> None:
    # A warning is an error here.
    registration = Registration(**GOOD, industry=" Other ")
    assert evolve(registration, country="HK").industry is Industry.OTHER


def test_countries_are_the_249_of_the_standard_and_kosovo() -> None:
    assert len(COUNTRIES) == 250
    assert all(len(code) == 2 and code.isupper() for code in COUNTRIES)


@pytest.mark.parametrize("country", ["HK", "hk", " gb ", "XK"])
def test_a_country_code_is_taken_in_any_spelling(country: str) -> None:
    assert Registration(**GOOD, country=country).country == country.strip().upper()


@pytest.mark.parametrize(
    ("country", "hint"),
    [
        ("UK", "did you mean GB?"),
        ("HKG", "did you mean HK?"),
        ("germny", "did you mean DE?"),
        ("AUT", "did you mean AT?"),
        (852, "such as HK"),
    ],
)
def test_a_country_that_is_no_code_is_refused_with_a_hint(country: object, hint: str) -> None:
    assert hint in problems_of(country=country)["country"]


@pytest.mark.parametrize("country", ["XH", "", "CHL", "Iceland", "Kosovo"])
def test_a_country_that_is_like_several_or_none_gets_no_hint(country: str) -> None:
    assert problems_of(country=country)["country"] == "must be an ISO 3166-1 alpha-2 code such as HK"


@pytest.fixture(params=["this machine's", "without older names", "none"])
def zone_data(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The time zones that this machine knows, as far as other machines know them."""
    before = zoneinfo.TZPATH
    if request.param != "this machine's":
        zoneinfo.reset_tzpath([str(tmp_path)])
    if request.param == "without older names":
        for zone in ("Asia/Kolkata", "Asia/Hong_Kong", "Etc/UTC", "Etc/GMT-8", "America/Los_Angeles"):
            path = tmp_path / zone
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"TZif")
    yield request.param
    zoneinfo.reset_tzpath(before)


@pytest.mark.parametrize(
    "timezone",
    [
        " Europe/Berlin ",
        "UTC",
        "US/Pacific",
        "America/Argentina/Buenos_Aires",
        "America/Port-au-Prince",
        "EST5EDT",
        "Etc/GMT+8",
        "Mars/Olympus_Mons",
    ],
)
def test_a_name_that_can_be_a_time_zone_is_left_to_the_server(zone_data: str, timezone: str) -> None:
    assert Registration(**GOOD, timezone=timezone).timezone == timezone.strip()


def test_every_time_zone_of_this_machine_can_be_one() -> None:
    known = zoneinfo.available_timezones() - {"Factory", "localtime"}
    assert [name for name in sorted(known) if not can_be_zone(name)] == []


@pytest.mark.parametrize("timezone", ["GMT+8", "UTC+08:00", "8", "Etc/UTC+8"])
def test_a_difference_from_utc_is_refused_without_a_hint(zone_data: str, timezone: str) -> None:
    assert problems_of(timezone=timezone)["timezone"] == "must be an IANA time zone such as Asia/Hong_Kong"


@pytest.mark.parametrize("timezone", ["PST", "China Standard Time", "West", "Salvador"])
def test_a_text_that_is_like_no_one_time_zone_gets_no_hint(timezone: str) -> None:
    assert problems_of(timezone=timezone)["timezone"] == "must be an IANA time zone such as Asia/Hong_Kong"


@pytest.mark.parametrize(
    ("timezone", "hint"),
    [
        ("Hong Kong", "did you mean Asia/Hong_Kong?"),
        ("europe/berln", "did you mean Europe/Berlin?"),
        ("Berlin", "did you mean Europe/Berlin?"),
        ("us pacific", "did you mean US/Pacific?"),
        ("../etc/passwd", "such as Asia/Hong_Kong"),
        (8, "such as Asia/Hong_Kong"),
    ],
)
def test_a_misspelt_time_zone_is_refused_with_a_hint(timezone: object, hint: str) -> None:
    assert hint in problems_of(timezone=timezone)["timezone"]


def test_every_problem_is_told_at_once() -> None:
    found = problems_of(email="x", organisation_name="", industry="?", country="?", timezone="?")
    assert list(found) == ["email", "organisation_name", "industry", "country", "timezone"]


def test_the_email_is_not_in_the_repr_nor_in_an_error() -> None:
    assert "you@" not in repr(Registration(**GOOD))
    with pytest.raises(InvalidInputError) as caught:
        Registration(email="you@@example.com", organisation_name="Acme")
    assert "you@@" not in str(caught.value)


@pytest.mark.parametrize("code", ["123-456", " 12 34 56\n", "012345"])
def test_blanks_and_hyphens_in_a_code_are_dropped(code: str) -> None:
    assert parse_code(code).reveal() == "".join(filter(str.isdigit, code))


@pytest.mark.parametrize("code", ["", "12345", "1234567", "12345a", "\uff11\uff12\uff13\uff14\uff15\uff16"])
def test_a_code_that_is_not_six_digits_is_refused(code: str) -> None:
    with pytest.raises(InvalidInputError, match="code: must be exactly six digits"):
        parse_code(code)


def test_a_code_that_is_a_number_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"code: .*leading zeros"):
        parse_code(12345)


@given(st.text())
def test_any_text_is_read_as_six_digits_or_refused(text: str) -> None:
    try:
        code = parse_code(text).reveal()
    except InvalidInputError:
        return
    assert len(code) == 6
    assert code.isascii()
    assert code.isdigit()


@pytest.mark.parametrize("request_id", ["", "  ", None, 7, "x" * (LONGEST_REGISTRATION_ID + 1)])
def test_an_invalid_request_id_is_refused(request_id: object) -> None:
    with pytest.raises(InvalidInputError, match="request_id"):
        check_request_id(request_id)


def test_a_request_id_is_trimmed() -> None:
    assert check_request_id(" signup_req_1 ") == "signup_req_1"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("attempts", 0),
        ("deadline", float("inf")),
        ("deadline", float("nan")),
        ("backoff_initial", -1),
        ("backoff_max", float("nan")),
        ("jitter", 1.5),
    ],
)
def test_a_policy_out_of_range_is_refused(field: str, value: Any) -> None:
    with pytest.raises(InvalidInputError, match=field):
        RetryPolicy(**{field: value})


def test_the_policy_never_makes_one_attempt() -> None:
    assert RetryPolicy.never().attempts == 1
