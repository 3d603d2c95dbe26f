"""The checked parsers: text of any kind becomes a value that can be trusted, or a BadRequest."""

import json
import re
import time
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minus_server import names
from minus_server.errors import BadRequest

A, B = "AAAAAAAAAAA1", "uBBBBBBBBBB2"  # ids; the second begins like a literal of Python 2

steady = settings(database=None, derandomize=True, deadline=None)

# Whatever JSON or a form can carry: control characters and halves of surrogate pairs too.
anything = st.text(st.characters(exclude_categories=())) | st.text("./\\%C:0aF\x00\ud800")


def refuses(parser: Callable[[str], object], value: str) -> str:
    """-> what the person who sent it reads"""
    with pytest.raises(BadRequest) as refused:
        parser(value)
    assert refused.value.status == 400
    return str(refused.value)


# --- names of files and folders ---


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("a.txt", "a.txt"),
        ("dir/sub/a.txt", "a.txt"),
        ("../../etc/passwd", "passwd"),
        (r"C:\My Pictures\a.jpg", "a.jpg"),
        (r"C:\a.jpg", "a.jpg"),
        (r"\\host\share\a.jpg", "a.jpg"),
        (r"back\slash.txt", r"back\slash.txt"),
        ("na%C3%AFve%20plan.txt", "naïve plan.txt"),
        ("..%2F..%2Fa.txt", "a.txt"),
        ("100%25.txt", "100%.txt"),
        ("50% off.txt", "50% off.txt"),
        ("%FF.txt", "%FF.txt"),
        ("100%.txt", "100%.txt"),
        ("...", "..."),
        (".bashrc", ".bashrc"),
        (" a ", " a "),
        ("\u202etxt.exe", "\u202etxt.exe"),
        ("\U0001f4a9" * 255, "\U0001f4a9" * 255),
    ],
)
def test_a_file_name_loses_its_folders_and_its_percent_signs(sent: str, kept: str) -> None:
    assert names.file_name(sent) == kept


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ("", "The name of the file is empty."),
        ("  ", "The name of the file is empty."),
        ("dir/", "The name of the file is empty."),
        (".", "The name of the file is that of a folder."),
        ("a/..", "The name of the file is that of a folder."),
        ("%2E%2E", "The name of the file is that of a folder."),
        ("a\nb", "The name of the file has a control character."),
        ("a%00b", "The name of the file has a control character."),
        ("a\x9bb", "The name of the file has a control character."),
        ("a\u2028b", "The name of the file has a control character."),
        ("a\udc80", "The name of the file has a control character."),
        ("x" * 256, "The name of the file is longer than 255 characters."),
    ],
)
def test_a_file_name_that_is_none_is_refused(sent: str, why: str) -> None:
    assert refuses(names.file_name, sent) == why


@steady
@given(anything)
@example("C:\\a\\..")
@example("..%2f..")
@example("%5c..%5c/%2e%2e")
def test_any_text_is_a_file_name_that_stays_in_its_folder_or_is_refused(text: str) -> None:
    try:
        name = names.file_name(text)
    except BadRequest:
        return
    name.encode()
    assert 0 < len(name) <= 255
    assert name.strip() not in ("", ".", "..")
    assert "/" not in name
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", name)


def test_a_folder_name_is_one_line_without_the_space_around_it() -> None:
    assert names.folder_name(" My / Stuff\t") == "My / Stuff"
    assert refuses(names.folder_name, " ") == "The name of the folder is empty."
    assert refuses(names.folder_name, "a\rb") == "The name of the folder has a control character."
    assert "longer than 255" in refuses(names.folder_name, "x" * 256)


# --- texts ---


@pytest.mark.parametrize("parser", [names.text, names.caption, names.message])
def test_a_text_has_lines_and_tabs_and_no_other_control_character(
    parser: Callable[[str], str],
) -> None:
    assert parser("one\r\n\ttwo \u2028 \x85") == "one\r\n\ttwo \u2028 \x85"
    assert parser("x" * 10_000) == "x" * 10_000
    for bad in ("\x00", "a\x1b[2Jb", "a\x7f", "a\ud800"):
        assert refuses(parser, bad) == "A text has a control character."
    assert refuses(parser, "x" * 10_001) == "A text is longer than 10000 characters."


def test_a_caption_may_be_empty_or_the_word_none_and_a_message_may_not() -> None:
    assert [names.caption(text) for text in ("", "None", "none", "None.")] == [
        "",
        "",
        "none",
        "None.",
    ]
    assert names.message("None") == "None"
    assert refuses(names.message, " \n") == "The message is empty."


# --- booleans, pages, ids, scopes ---


@pytest.mark.parametrize("value", ["true", "True", "TRUE", "1", " yes ", "on", "t", "y"])
def test_what_means_true_is_true(value: str) -> None:
    assert names.boolean(value) is True


@pytest.mark.parametrize("value", ["false", "False", "0", "no", "OFF", "f", "n", "None", "null"])
def test_what_means_false_is_false(value: str) -> None:
    assert names.boolean(value) is False


@steady
@given(anything)
def test_any_text_is_a_boolean_or_is_refused(text: str) -> None:
    try:
        assert names.boolean(text) in (True, False)
    except BadRequest as refused:
        assert len(str(refused)) < 600


@pytest.mark.parametrize(
    ("value", "number"), [("1", 1), (" 7 ", 7), ("007", 7), ("0", 1), ("999999999", 999_999_999)]
)
def test_a_page_is_a_number_from_1(value: str, number: int) -> None:
    assert names.page(value) == number


@steady
@given(anything | st.integers().map(str) | st.text("0123456789٣² -+.e"))
@example("9" * 5000)
@example("1000000000")
def test_any_text_is_a_page_that_sqlite_can_skip_to_or_is_refused(text: str) -> None:
    try:
        assert 1 <= names.page(text) < 10**9
    except BadRequest as refused:
        assert str(refused) == "The page is not a number from 1."


@pytest.mark.parametrize(
    "value",
    [
        json.dumps([A, B]),
        json.dumps([A, 1, None, ["x"], "short", "toolong123456", B, A]),
        json.dumps(f"{A},{B}"),
        repr([A, B]),
        repr((A, B)),
        f"[u'{A}', u'{B}']",
        f'[u"{A}",\n u"{B}"]',
        f"{A},{B}",
        f" {A} , {B},",
        f"[{A}, {B}]",
        f"['{A}', '{B}', 'it''s', {A}\"]",
    ],
)
def test_a_list_of_ids_is_read_in_every_spelling(value: str) -> None:
    assert names.id_list(value) == [A, B]


@pytest.mark.parametrize("value", ["", " ", "[]", "()", "[ ]"])
def test_a_list_of_ids_may_be_empty(value: str) -> None:
    assert names.id_list(value) == []


@pytest.mark.parametrize("value", ['{"a": 1}', "1", "1e999", "null", "true", f"x{A}", A[:-1]])
def test_what_has_no_id_is_no_list_of_ids(value: str) -> None:
    assert refuses(names.id_list, value) == "The list of ids cannot be read."


@pytest.mark.parametrize("item", ["1,", "'a',", "a.", "f(),", "[", "-", "(", "A" * 11 + ","])
def test_a_hostile_list_of_ids_costs_little(item: str) -> None:
    value = item * (4_000_000 // len(item))
    before = time.process_time()
    assert refuses(names.id_list, value + ".") == "The list of ids cannot be read."
    assert time.process_time() - before < 1


def test_a_list_of_ids_has_an_end() -> None:
    ids = [f"{number:012}" for number in range(100_001)]
    assert names.id_list(json.dumps(ids[1:])) == ids[1:]
    assert refuses(names.id_list, json.dumps(ids)) == "The list has more than 100000 ids."


@steady
@given(anything | st.text("[](){},'\"u \\AaZz09"))
@example("[" * 100_000)
@example("9" * 5000)
def test_any_text_is_a_list_of_ids_or_is_refused(text: str) -> None:
    try:
        ids = names.id_list(text)
    except BadRequest:
        return
    assert all(names.is_id(item) for item in ids)
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("read_public", {"read_public"}),
        ("read_public read_all", {"read_public", "read_all"}),
        ("read_public+read_all,modify_user", {"read_public", "read_all", "modify_user"}),
        (" read_all  nonsense ", {"read_all"}),
        ("nonsense", set()),
        ("+", set()),
        ("", set(names.SCOPES)),
        (" ", set(names.SCOPES)),
    ],
)
def test_scopes_are_the_known_ones_and_nothing_means_all(value: str, expected: set[str]) -> None:
    assert names.scopes(value) == expected


@steady
@given(anything)
def test_any_text_is_a_set_of_known_scopes(text: str) -> None:
    assert names.scopes(text) <= set(names.SCOPES)


# --- accounts ---


@pytest.mark.parametrize("value", ["a", "Alice", "a.b_c-d", "0", "u" * 63, "load"])
def test_a_username_is_letters_digits_and_little_else(value: str) -> None:
    assert names.username(value) == value


@pytest.mark.parametrize(
    "value",
    ["", ".a", "_a", "-a", "a b", "a/b", "ä", "a\n", "u" * 64, "pload", "PLOAD", "ser", "pdate"],
)
def test_a_username_that_would_collide_or_mislead_is_refused(value: str) -> None:
    assert refuses(names.username, value).startswith("A username has 1 to 63 letters")


def test_a_slug_is_the_username_in_lower_case() -> None:
    assert names.slug(" Alice.B ") == "alice.b"


def test_a_password_has_eight_characters_and_an_end() -> None:
    assert names.password(" " * 8) == " " * 8
    assert refuses(names.password, "1234567") == "The password is shorter than 8 characters."
    assert names.password("x" * 1024) == "x" * 1024
    assert refuses(names.password, "") == "The password is empty."
    assert refuses(names.password, "x" * 1025) == "The password is longer than 1024 characters."


@pytest.mark.parametrize("value", ["", "a@b.example", "a+b@sub.b.example", "ä@ö.example"])
def test_an_email_is_an_address_or_nothing(value: str) -> None:
    assert names.email(value) == value


@pytest.mark.parametrize(
    "value",
    [
        *("a", "a@b", "a@@b.c", "a b@c.d", "a@b.c\n", "\x1b@b.c", "\ud800@b.c"),
        *(f"a@{'b' * 252}.c", f"a@{'.' * 1_000_000}@"),
    ],
    ids=len,
)
def test_an_email_that_is_none_is_refused_at_once(value: str) -> None:
    before = time.process_time()
    assert refuses(names.email, value) == "This email is invalid."
    assert time.process_time() - before < 1


@steady
@given(anything | st.text("@.a \x00\ud800"))
def test_any_text_is_an_email_or_is_refused(text: str) -> None:
    try:
        email = names.email(text)
    except BadRequest:
        return
    email.encode()
    assert email == "" or (email.count("@") == 1 and len(email) <= 255)
    assert not re.search(r"[\x00-\x20\x7f-\x9f]", email)


def test_ids_are_12_letters_and_digits_and_never_the_same() -> None:
    ids = {names.new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch("[A-Za-z0-9]{12}", text) for text in ids)
    assert [names.is_id(text) for text in (A, A[:-1], A + "x", A[:-1] + "-", A + "\n")] == [
        True,
        *[False] * 4,
    ]


def test_secrets_have_43_letters_and_are_never_the_same() -> None:
    secrets = {names.new_secret() for _ in range(1000)}
    assert len(secrets) == 1000
    assert {len(secret) for secret in secrets} == {43}


# --- types ---

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (JPEG, "image/jpeg"),
        (PNG, "image/png"),
        (b"GIF87a", "image/gif"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", None),
        (b"BM", "image/bmp"),
        (b"II*\x00", "image/tiff"),
        (b"MM\x00*", "image/tiff"),
        (b"\x00\x00\x00\x1cftypavif", "image/avif"),
        (b"\x00\x00\x00\x1cftypavis", "image/avif"),
        (b"\x00\x00\x00\x1cftypisom", None),
        (PNG[:7], None),
        (b" " + PNG, None),
        (b"<svg", None),
        (b"", None),
    ],
)
def test_a_picture_is_told_by_its_first_bytes(head: bytes, kind: str | None) -> None:
    assert names.picture_type(head) == kind


@pytest.mark.parametrize(
    ("name", "declared", "head", "kind"),
    [
        ("a.txt", "text/html", PNG, "image/png"),
        ("a.txt", "", b"text", "text/plain"),
        ("a.TXT", "application/octet-stream", b"text", "text/plain"),
        ("a.txt", "Text/HTML; charset=utf-8", b"text", "text/html"),
        ("a.svg", "", b"<svg", "image/svg+xml"),
        ("a.png", "", b"<script>", "application/octet-stream"),
        ("a.png", "image/png", b"<script>", "application/octet-stream"),
        ("a.png", "image/x-none", b"<script>", "image/x-none"),
        ("a", "", b"", "application/octet-stream"),
        ("a.txt", "nonsense", b"", "text/plain"),
        ("a.txt", "text/plain\r\nX: y", b"", "text/plain"),
        ("a.txt", "ж/ж", b"", "text/plain"),
        ("a", "x" * 65 + "/plain", b"", "application/octet-stream"),
        ("notes.txt.gz", "", b"\x1f\x8b", "application/octet-stream"),
        ("data:ж;x,", "", b"", "text/plain"),
    ],
)
def test_a_type_comes_from_the_bytes_then_the_sender_then_the_name(
    name: str, declared: str, head: bytes, kind: str
) -> None:
    assert names.media_type(name, declared, head) == kind


@steady
@given(anything.filter(lambda text: "/" not in text), anything, st.binary(max_size=16))
def test_any_type_can_stand_in_a_header(name: str, declared: str, head: bytes) -> None:
    assert re.fullmatch("[!-~]+/[!-~]+", names.media_type(name, declared, head))
