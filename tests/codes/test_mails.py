from __future__ import annotations

from email.message import EmailMessage

import pytest
from codes.mailserver import SENDER, mail
from hypothesis import given
from hypothesis import strategies as st

from favcrm.codes._mails import codes_in

SENDERS = frozenset({SENDER})


def found(raw: bytes) -> set[str]:
    codes = codes_in(raw, SENDERS)
    assert codes is not None
    return set(codes)


@pytest.mark.parametrize(
    "text",
    [
        "Your code is 123456.",
        "123456",
        "Code:123456",
        "*123456*, valid for 10 minutes",
        "您的验证码是123456。",
        "123456 is your code. Again: 123456.",
        "123456, or https://example.com/654321?code=999999#888888",
        "123456. Ticket #777777, HK$666666, +852555555, FAV-444444, 333333-1, 222222.50, 12345678, 111111%",
    ],
)
def test_a_code_stands_alone(text: str) -> None:
    assert found(mail(text)) == {"123456"}


@pytest.mark.parametrize("text", ["Welcome!", "12345", "1234567", "123 456"])
def test_other_numbers_are_no_codes(text: str) -> None:
    assert found(mail(text)) == set()


@pytest.mark.parametrize(
    "html",
    [
        "<p>Your code is <b>123456</b>.</p>",
        "<table><tr><td>10</td><td>123456</td><td>20</td></tr></table>",
        "<b>1</b><b>2</b><b>3</b><span style='color:#999999'>4</span><b>5</b><b>6</b>",
        "<head><title>888888</title><style>p { width: 999999 }</style></head><p>123456</p>",
        "<!-- 888888 <b>999999</b> --><p>123456</p><!--777777-->",
        "<!--[if mso]><p>999999</p><![endif]--><p>&nbsp;123456&nbsp;</p>",
        "<script>999999 < 888888</script >123456",
        "<p>12345&#54;</p><",
    ],
)
def test_a_mail_can_be_html_only(html: str) -> None:
    assert found(mail(html=html)) == {"123456"}


def test_both_forms_of_a_mail_count() -> None:
    assert found(mail("It is 123456.", html="<p>It is 123456.</p>")) == {"123456"}
    assert found(mail("It is 123456.", html="<p>It is 654321.</p>")) == {"123456", "654321"}


def test_what_is_attached_does_not_count() -> None:
    message = EmailMessage()
    message["From"] = SENDER
    message.set_content("It is 123456.")
    message.add_attachment("999999", filename="numbers.txt")
    message.add_attachment(b"888888", maintype="application", subtype="pdf")
    message.add_attachment(b"<p>777777</p>", maintype="text", subtype="html", disposition="attachment")
    assert found(message.as_bytes()) == {"123456"}


@pytest.mark.parametrize("charset", [b"x-none", b"undefined", b"idna", b"base64", b'"a\0b"'])
def test_an_unknown_charset_is_read_as_ascii(charset: bytes) -> None:
    assert found(mail("It is 123456.").replace(b'"utf-8"', charset)) == {"123456"}


def test_a_mail_that_cannot_be_read_is_passed_over() -> None:
    """Anybody can send one, in the sender's name too."""
    nested = b"Content-Type: message/rfc822\r\n\r\n" * 3_000
    assert codes_in(f"From: {SENDER}\r\n".encode() + nested + b"123456", SENDERS) is None


@pytest.mark.parametrize(
    "sender",
    [
        "other@favcrm.example",
        f"{SENDER}, other@example.com",
        f"{SENDER} <other@example.com>",
        f"<{SENDER}> <other@example.com>",
        f"x{SENDER}",
        f"{SENDER}.example",
        "",
    ],
)
def test_a_mail_of_somebody_else_is_not_read(sender: str) -> None:
    assert codes_in(f"From: {sender}\r\n\r\n123456".encode(), SENDERS) is None


@pytest.mark.parametrize(
    "sender",
    [
        SENDER,
        f"<{SENDER}>",
        f"FavCRM <{SENDER}>",
        f'"FavCRM, Ltd." <{SENDER}>',
        f"=?utf-8?q?F?=\r\n <{SENDER}>",
    ],
)
def test_a_sender_may_have_a_name(sender: str) -> None:
    assert found(f"From: {sender}\r\n\r\n123456".encode()) == {"123456"}


@given(
    st.binary(), st.sampled_from(["text/plain", "text/html", "multipart/mixed; boundary=x", "message/rfc822"])
)
def test_no_mail_breaks_it(body: bytes, kind: str) -> None:
    codes_in(f"From: {SENDER}\r\nContent-Type: {kind}\r\n\r\n".encode() + body, SENDERS)
    codes_in(f"From: {SENDER}\r\n".encode() + body, SENDERS)
