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
def test_a_number_that_stands_alone_is_the_code(text: str) -> None:
    assert found(mail(text)) == {"123456"}


@pytest.mark.parametrize(
    "written",
    [
        "482 913",
        "482\u00a0913",
        "482-913",
        "482 \u2013 913",
        "48 29 13",
        "4 8 2 9 1 3",
        "4-8-2-9-1-3",
        "| 4 | 8 | 2 | 9 | 1 | 3 |",
        "4\n8\n2\n9\n1\n3",
        "482\u200b913",
        "\uff14\uff18\uff12\uff19\uff11\uff13",
        "\u0664\u0668\u0662 \u0669\u0661\u0663",
    ],
)
@pytest.mark.parametrize(
    "around", ["{}", "Your code: {}", "Enter this code:\n\n{}\n\nSingapore 018956", "验证码是{}。"]
)
def test_a_code_is_written_in_many_ways(written: str, around: str) -> None:
    assert found(mail(around.format(written))) == {"482913"}


@pytest.mark.parametrize(
    "text", ["012 345 (10 minutes)", "Valid until 10:15 012345", "05/12/2026 012345 is it"]
)
def test_a_code_that_begins_with_zero_is_no_telephone_number(text: str) -> None:
    assert found(mail(text)) == {"012345"}


@pytest.mark.parametrize(
    "text",
    [
        "Your code is 482913.\n\nFavCRM\n1 Raffles Place\nSingapore\n018956",
        "Your code is 482913.\n018956",
        "Your code\n482913\nWe are at 1 Raffles Place, Singapore 018956",
        "Use 482913 as your code.\n018956\nSingapore",
        "482913 is your FavCRM code.\n018956",
        "482913\nThis code is valid for 10 minutes.\nSingapore\n018956",
        "Singapore\n018956\nYour code:\n482913",
        "Hello,\n482913\n018956 Singapore",
        "FavCRM code: 482913 - FavCRM Ltd, Singapore 018956",
        "(c) FavCRM 202611\nYour code: 482913",
        "Enter this code for Stretch 555555 Ltd:\n\n482913\n",
        "Your code for order 123456 is 482913.",
        "Your code is 482913, order no. 123456, ref: 654321",
        "Your code for your account: 482913\nAccount number 777777",
        "We sent the code to your WhatsApp: 482913",
        "Use this code to complete your registration:\n\n482913\n\nRegistration No. 123456",
        "Your code: 482913\nPostal code: 018956\nOrder: 123456\nHKD 123456, or 123456 EUR",
        "Call us at 123456 or +49 30 123456. Your code: 482913",
        "您的驗證碼為482913。\n郵政編碼 999077\n電話 123456",
        "Ihr Best\u00e4tigungscode lautet 482913\n123456 Moskau",
        "Votre code de v\u00e9rification est 482913.\n123456 Moscou",
        "Su c\u00f3digo es 482913.\n123456 Mosc\u00fa",
        "Kode Anda adalah 482913\nJakarta 123456",
        "\u8a8d\u8a3c\u30b3\u30fc\u30c9:482913\n123456",
    ],
)
def test_the_number_that_is_called_a_code_wins(text: str) -> None:
    assert found(mail(text)) == {"482913"}


@pytest.mark.parametrize(
    "text",
    [
        "It is 111111 or 222222.",
        "Your code is 111111 or 222222.",
        "Your first code is 111111. Your second code is 222222.",
        "111111\n222222",
        "The code:\n111111\nThe code:\n222222",
    ],
)
def test_numbers_with_equal_standing_are_all_returned(text: str) -> None:
    assert found(mail(text)) == {"111111", "222222"}


@pytest.mark.parametrize(
    "text",
    [
        "Welcome!",
        "12345",
        "1234567",
        "12 3456",
        "123 456 789",
        "1 2 3 4 5 6 7",
        "1 482 913",
        "482.913",
        "482,913",
        "\u20ac482 913",
        "482 913 EUR",
        "2026-11-29",
        "Tel. +49 30 123456",
        "Tel. 30 123456",
        "+852 482 913",
        "+49 (0)30 123456",
        "030 123456",
        "(030) 123456",
        "Phone: 123456",
        "Call 482 913",
        "Call us on 123456",
        "Fax 123456",
        "Order 123456",
        "Order ID: 123456",
        "Invoice #123456",
        "PO Box 123456",
        "Company No. 123456",
        "Postal code 018 956",
        "Singapore postal code: 018956",
        "\u90ae\u653f\u7f16\u7801 518000",
        "Order\t123456",
    ],
)
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
        "<table><tr><td>1</td><td>2</td><td>3</td><td>4</td><td>5</td><td>6</td></tr></table>",
        "<table>\n <tr>\n  <td><b>1</b></td>\n  <td>2</td><td>3</td>-<td>4</td><td>5</td><td>6</td></table>",
        "<p>In 10 minutes.</p><div>1</div><div>2</div><div>3</div><div>4</div><div>5</div><div>6</div><p>2026</p>",
        "<p>Enter this code:</p><p><b>123</b>&nbsp;<b>456</b></p><p>Singapore<br>018956</p>",
        "<p>Your\ncode is\n123456.</p>\n018956",
        "<table><tr><td>Code</td><td>123456</td></tr><tr><td>Postal code</td><td>018956</td></tr></table>",
    ],
)
def test_a_mail_can_be_html_only(html: str) -> None:
    assert found(mail(html=html)) == {"123456"}


def test_both_forms_of_a_mail_count() -> None:
    assert found(mail("It is 123456.", html="<p>It is 123456.</p>")) == {"123456"}
    assert found(mail("It is 123456.", html="<p>It is 654321.</p>")) == {"123456", "654321"}


def test_the_clearer_form_of_a_mail_counts() -> None:
    text = "FavCRM\n123456 Singapore 018956"
    assert found(mail(text, html="<p>Your code:</p><p>123456</p><p>018956 Singapore</p>")) == {"123456"}


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


@pytest.mark.parametrize(
    "text",
    ["code ", "code: 123456 or ", "1 ", "ref ", "\n", "1(2)", "0123 ", "+1", "123456\n", "\u9a57", ":", ". "],
)
def test_a_long_mail_takes_one_pass(text: str) -> None:
    # Read again from each word, it would take hours.
    long = text * (100_000 // len(text))
    assert codes_in(mail(f"{long}a code{' 123456' * 10_000}"), SENDERS) is not None


@given(
    st.binary(), st.sampled_from(["text/plain", "text/html", "multipart/mixed; boundary=x", "message/rfc822"])
)
def test_no_mail_raises(body: bytes, kind: str) -> None:
    codes_in(f"From: {SENDER}\r\nContent-Type: {kind}\r\n\r\n".encode() + body, SENDERS)
    codes_in(f"From: {SENDER}\r\n".encode() + body, SENDERS)
