"""Checked values: one parser a field, from untrusted text to what the rules may trust.

Each parser takes the text of a field and returns the value, or raises BadRequest.
"""

import base64
import json
import mimetypes
import re
import secrets
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from minus_server.errors import BadRequest, NotFound, TooLarge

SCOPES = ("read_public", "read_all", "upload_new", "modify_all", "modify_user")
ID_LENGTH = 12  # base 62: 71 bits
MAX_NAME = 255  # characters
MAX_TEXT = 10_000  # characters of a caption, a description, a message
MIN_PASSWORD = 8  # characters of one that is set anew
MAX_PASSWORD = 1_024  # characters: a hash of more would be a way to keep the service busy
MAX_PAGE = 10**9
MAX_ORDER = 100_000  # ids in one item_ordering
MAX_PER_PAGE = 1_000  # rows of a page
MAX_IDS = 1_000  # files that are asked for by id at once
MAX_GLOB = 255  # characters
MAX_LENGTH = 1 << 60  # bytes of an upload, whatever room there is

CHECKSUMS = {"sha256": 32, "sha1": 20}  # of a piece of an upload, with their bytes

# Addresses of our own that begin like a user's page: `/upload` is no user `pload`.
FIXED_ADDRESSES = ("/upload", "/uploads", "/users", "/user", "/update")
_RESERVED_SLUGS = frozenset(address[2:] for address in FIXED_ADDRESSES)

KEY_LETTERS = f"{string.ascii_letters}{string.digits}-_"
_ALPHABET = string.ascii_letters + string.digits
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_IDS = len(_ALPHABET) ** ID_LENGTH
_ID = re.compile(rf"[A-Za-z0-9]{{{ID_LENGTH}}}")
_LISTED_ID = re.compile(rf"""\s*(?:u?(["']))?({_ID.pattern})(?(1)\1)\s*""")
_LINKED = re.compile(rf"(?:^|/)([mlijk]?)({_ID.pattern})(?![A-Za-z0-9])")
_ID_IN_TEXT = re.compile(rf"(?<![A-Za-z0-9])[A-Za-z0-9]{{{ID_LENGTH}}}(?![A-Za-z0-9])")
_USERNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_LOCAL_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]|[\ud800-\udfff]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_TEXT_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|[\ud800-\udfff]")
_WINDOWS_PATH = re.compile(r"(?:[A-Za-z]:)?[\\/].*[\\/]|[A-Za-z]:\\")
_ENCODED = re.compile(r"(?:[A-Za-z0-9_.~!*'()-]|%[0-9A-Fa-f]{2})+")
_DIGEST = re.compile(r":[A-Za-z0-9+/]{43}=:")
_KEY = re.compile(r"[!-~]{1,255}")
_METADATA = re.compile(r"([!-+\--~]+)(?: +([A-Za-z0-9+/]*={0,2}))?")
_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}")


def new_id() -> str:
    """Make the id of a folder or file: what its short link shows."""
    number = secrets.randbelow(_IDS)
    pairs = []
    for _ in range(ID_LENGTH // 2):
        number, pair = divmod(number, len(_PAIRS))
        pairs.append(_PAIRS[pair])
    return "".join(pairs)


def new_secret() -> str:
    """Make a token, a client's secret or a blob's key: 43 of KEY_LETTERS, 256 bits."""
    return secrets.token_urlsafe(32)


def secret_bytes(secret: str) -> bytes:
    """The 256 bits of a secret of ours."""
    return base64.urlsafe_b64decode(f"{secret}=")


def secret_of(value: bytes) -> str:
    """The secret of these 256 bits."""
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def is_id(text: str) -> bool:
    """Tell whether the text has the form of an id of ours."""
    return _ID.fullmatch(text) is not None


def gallery_id(text: str) -> str:
    """An id with or without the `m` of its address before it. Raises NotFound for what is none."""
    name = text.strip().rstrip("/").rpartition("/")[2]
    if len(name) == ID_LENGTH + 1 and name.startswith("m"):
        name = name[1:]
    if not is_id(name):
        raise NotFound("There is no such gallery.")
    return name


def named_by(link: str) -> tuple[str, str]:
    """What a link names, for the operator. -> its letter, empty for a bare id; the id

    Raises BadRequest for a user's page and for what has no id.
    """
    path = urlsplit(link.strip()).path
    if path.startswith("/u"):
        raise BadRequest("This is a user's page: `deluser` removes a user.")
    found = _LINKED.findall(path)
    if not found:
        raise BadRequest("This is no link to a gallery or an item, and no id of one.")
    letter, name = found[-1]
    return str(letter), str(name)


def link_id(link: str) -> str:
    """The id in a short link, whatever ending follows it. Raises NotFound where there is none."""
    found, rest = link[:ID_LENGTH], link[ID_LENGTH:]
    if not is_id(found) or (rest and not rest.startswith(".")):
        raise NotFound("There is no such file.")
    return found


def is_local_path(text: str) -> bool:
    """Tell whether a text is the path of one of our pages, and no other host's address."""
    return _LOCAL_PATH.fullmatch(text) is not None


def place(value: str) -> int:
    """A place in an order, from 0."""
    if not (value.isascii() and value.isdigit() and len(value) < len(str(MAX_PAGE))):
        raise BadRequest("The place is not a number from 0.")
    return int(value)


def _name(text: str, what: str) -> str:
    if not text.strip():
        raise BadRequest(f"The {what} is empty.")
    if _CONTROL.search(text):
        raise BadRequest(f"The {what} has a control character.")
    if len(text) > MAX_NAME:
        raise BadRequest(f"The {what} is longer than {MAX_NAME} characters.")
    return text


def folder_name(text: str) -> str:
    """Any text of one line."""
    return _name(text.strip(), "name of the folder")


def file_name(text: str) -> str:
    """The name of a file, without the folders that a browser or a program put before it.

    A text that is percent-encoded from end to end is decoded, as programs of the time
    sent it; a client that means the escapes literally encodes their `%` once more.
    """
    name = text
    if windows := _WINDOWS_PATH.match(name):
        name = name[windows.end() :]
    name = name.rsplit("/", 1)[-1]
    if "%" in name and _ENCODED.fullmatch(name):
        name = _decoded(name).rsplit("/", 1)[-1]
    name = _name(name, "name of the file")
    if name in (".", ".."):
        raise BadRequest("The name of the file is that of a folder.")
    return name


def bare_file_name(text: str) -> str:
    """The name of a file that was decoded already: what looks like an escape is meant so."""
    return file_name(quote(text, safe="", errors="surrogatepass"))


def _decoded(name: str) -> str:
    try:
        return unquote(name, errors="strict")
    except UnicodeDecodeError:
        return name


def text(value: str) -> str:
    """A caption, a title, a message: text that may have lines."""
    if len(value) > MAX_TEXT:
        raise BadRequest(f"A text is longer than {MAX_TEXT} characters.")
    if _TEXT_CONTROL.search(value):
        raise BadRequest("A text has a control character.")
    return value


def caption(value: str) -> str:
    """A caption; programs of the time sent the word None where they had none."""
    return "" if value == "None" else text(value)


def message(value: str) -> str:
    """The body of a message, not empty."""
    if not value.strip():
        raise BadRequest("The message is empty.")
    return text(value)


def digest(value: str) -> str | None:
    """The SHA-256 that a `Repr-Digest` (RFC 9530) tells, in hexadecimal; None without one."""
    for member in value.split(","):
        algorithm, _, said = member.strip().partition("=")
        if algorithm == "sha-256":
            if not _DIGEST.fullmatch(said):
                raise BadRequest("The Repr-Digest cannot be read.")
            return base64.b64decode(said[1:-1]).hex()
    return None


def idempotency_key(value: str) -> str:
    """The key of a request that may be sent again."""
    if not _KEY.fullmatch(value):
        raise BadRequest("An Idempotency-Key has 1 to 255 visible characters of ASCII.")
    return value


def length(value: str) -> int:
    """A number of bytes, from 0: the length or the offset of an upload. Raises TooLarge."""
    if not (value.isascii() and value.isdigit()):
        raise BadRequest("A length or offset of an upload is not a number from 0.")
    digits = value.lstrip("0") or "0"
    if len(digits) > len(str(MAX_LENGTH)) or int(digits) > MAX_LENGTH:
        raise TooLarge(f"An upload has at most {MAX_LENGTH} bytes.")
    return int(digits)


def metadata(value: str) -> dict[str, str]:
    """What `Upload-Metadata` of tus says: words, each with a text in base64."""
    found: dict[str, str] = {}
    for pair in filter(None, (pair.strip() for pair in value.split(","))):
        parts = _METADATA.fullmatch(pair)
        if parts is None or parts[1] in found:
            raise BadRequest("The Upload-Metadata cannot be read.")
        try:
            found[parts[1]] = base64.b64decode(parts[2] or "", validate=True).decode()
        except ValueError:
            raise BadRequest("The Upload-Metadata is not base64 of UTF-8.") from None
    return found


def declared_type(value: str) -> str:
    """The type that a file is said to have, whatever it is."""
    if len(value) > MAX_NAME:
        raise BadRequest(f"The type of the file is longer than {MAX_NAME} characters.")
    return value


def checksum(value: str) -> tuple[str, bytes]:
    """What `Upload-Checksum` of tus says. -> the algorithm, one of CHECKSUMS, the digest"""
    algorithm, _, said = value.strip().partition(" ")
    if algorithm not in CHECKSUMS:
        raise BadRequest(f"The Upload-Checksum is of none of {', '.join(CHECKSUMS)}.")
    try:
        found = base64.b64decode(said.strip(), validate=True)
    except ValueError:
        found = b""
    if len(found) != CHECKSUMS[algorithm]:
        raise BadRequest("The Upload-Checksum cannot be read.")
    return algorithm, found


def boolean(value: str) -> bool:
    """true or false, yes or no, on or off, 1 or 0, in any case."""
    word = value.strip().lower()
    if word in ("true", "1", "yes", "on", "t", "y"):
        return True
    if word in ("false", "0", "no", "off", "f", "n", "none", "null"):
        return False
    raise BadRequest(f"{value[:40]!r} is neither true nor false.")


def id_list(value: str) -> list[str]:
    """Ids as a JSON list, as a Python list's repr or with commas; what is no id is left out."""
    ids = list(dict.fromkeys(_ID_IN_TEXT.findall(value)))
    if not ids and value.strip(" \t\r\n[](){}"):
        raise BadRequest("The list of ids cannot be read.")
    if len(ids) > MAX_ORDER:
        raise BadRequest(f"The list has more than {MAX_ORDER} ids.")
    return ids


def page(value: str) -> int:
    """The number of a page, from 1."""
    number = value.strip()
    if not (number.isascii() and number.isdigit() and len(number) < len(str(MAX_PAGE))):
        raise BadRequest("The page is not a number from 1.")
    return max(1, int(number))


def per_page(value: str) -> int:
    """How many rows a page has, from 1."""
    number = value.strip()
    good = number.isascii() and number.isdigit() and len(number) <= len(str(MAX_PER_PAGE))
    if not good or not 1 <= int(number) <= MAX_PER_PAGE:
        raise BadRequest(f"A page has 1 to {MAX_PER_PAGE} rows.")
    return int(number)


def some_of(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """Make the parser of a list, with commas, of words that are known."""

    def words(value: str) -> tuple[str, ...]:
        found = tuple(word.strip() for word in value.split(","))
        for word in found:
            if word not in known:
                raise BadRequest(f"There is no field {word[:40]!r}.")
        return found

    return words


def cursor_of(place: Sequence[int]) -> str:
    """The place of a row as `next` carries it."""
    return "-".join(f"{number:x}" for number in place)


def cursor(numbers: int) -> Callable[[str], tuple[int, ...]]:
    """Make the parser of the places of a list, of so many numbers each; empty: its beginning."""
    one = "[0-9a-f]{1,15}"
    form = re.compile(f"{one}(?:-{one}){{{numbers - 1}}}")

    def place(value: str) -> tuple[int, ...]:
        if value and not form.fullmatch(value):
            raise BadRequest("The cursor is not one of this list.")
        return tuple(int(number, 16) for number in value.split("-")) if value else ()

    return place


@dataclass(frozen=True, slots=True)
class OneOf:
    """A set of a glob: one character of these ranges, or (`out`) one of none of them."""

    ranges: tuple[tuple[str, str], ...]
    out: bool


@dataclass(frozen=True, slots=True)
class Glob:
    """A pattern, as it was written and taken apart: text, `*`, `?` and sets."""

    text: str
    parts: tuple[str | OneOf, ...]  # of text: one string a character, but for ANY and ONE

    ANY = "*any"
    ONE = "?one"


def glob(value: str) -> Glob:
    """A pattern as `fnmatch.fnmatchcase` reads it: `*`, `?`, `[a-z]`, `[!a-z]`."""
    if len(value) > MAX_GLOB:
        raise BadRequest(f"The pattern is longer than {MAX_GLOB} characters.")
    if _TEXT_CONTROL.search(value):
        raise BadRequest("The pattern has a control character.")
    parts: list[str | OneOf] = []
    at = 0
    while at < len(value):
        char, at = value[at], at + 1
        if char == "[" and (end := _end_of_set(value, at)):
            parts.append(_set(value[at:end]))
            at = end + 1
        else:
            parts.append({"*": Glob.ANY, "?": Glob.ONE}.get(char, char))
    return Glob(value, tuple(parts))


def _end_of_set(value: str, at: int) -> int:
    """Where the `]` is that ends a set; 0 where there is none: the `[` is one of the name's."""
    first = at + (value[at : at + 1] == "!")
    return max(0, value.find("]", first + 1))


def _set(inner: str) -> OneOf:
    out = inner.startswith("!")
    rest = inner[out:]
    ranges: list[tuple[str, str]] = []
    while rest:
        is_range = len(rest) > 2 and rest[1] == "-"
        ranges.append((rest[0], rest[2] if is_range else rest[0]))
        rest = rest[3 if is_range else 1 :]
    return OneOf(tuple(pair for pair in ranges if pair[0] <= pair[1]), out)


def some_ids(value: str) -> list[str]:
    """Ids as a JSON list, each once. Raises TooLarge for more than MAX_IDS."""
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise BadRequest("The ids are no JSON list of texts.")
    if len(found) > MAX_IDS:
        raise TooLarge(f"The list has more than {MAX_IDS} ids.")
    return list(dict.fromkeys(found))


def username(value: str) -> str:
    """The name of an account: letters, digits, and `.`, `_`, `-` inside."""
    if not _USERNAME.fullmatch(value) or slug(value) in _RESERVED_SLUGS:
        raise BadRequest(
            "A username has 1 to 63 letters and digits of ASCII, with . _ - inside,"
            " and is not a word that the service uses."
        )
    return value


def slug(value: str) -> str:
    """The username in lower case, as it stands in addresses."""
    return value.strip().lower()


def password(value: str) -> str:
    """A password to set."""
    if not value:
        raise BadRequest("The password is empty.")
    if len(value) < MIN_PASSWORD:
        raise BadRequest(f"The password is shorter than {MIN_PASSWORD} characters.")
    if len(value) > MAX_PASSWORD:
        raise BadRequest(f"The password is longer than {MAX_PASSWORD} characters.")
    if _SURROGATE.search(value):
        raise BadRequest("The password is no Unicode text.")
    return value


def email(value: str) -> str:
    """An address, or nothing."""
    fits = len(value) <= MAX_NAME and not _CONTROL.search(value)  # the pattern is slow on more
    if value and not (fits and _EMAIL.fullmatch(value)):
        raise BadRequest("This email is invalid.")
    return value


def scopes(value: str) -> frozenset[str]:
    """The scopes that a token request names, by spaces, plus signs or commas; empty: all."""
    words = re.split(r"[\s+,]+", value.strip())
    known = frozenset(SCOPES).intersection(words)
    return known if known or value.strip() else frozenset(SCOPES)


_TYPES = mimetypes.MimeTypes()  # Python's own table: this machine's would be another elsewhere

# The first bytes of the pictures we show, and their type.
_MAGIC: tuple[tuple[bytes, bytes, str], ...] = (
    (b"\xff\xd8\xff", b"", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", b"", "image/png"),
    (b"GIF87a", b"", "image/gif"),
    (b"GIF89a", b"", "image/gif"),
    (b"RIFF", b"WEBP", "image/webp"),
    (b"BM", b"", "image/bmp"),
    (b"II*\0", b"", "image/tiff"),
    (b"MM\0*", b"", "image/tiff"),
)
_AVIF = (b"ftypavif", b"ftypavis")
PICTURES = frozenset({row[2] for row in _MAGIC} | {"image/avif"})

# What a browser may show in place of saving: it can run nothing of these.
INLINE = frozenset(
    {
        *PICTURES,
        "audio/aac",
        "audio/flac",
        "audio/mp4",
        "audio/mpeg",
        "audio/ogg",
        "audio/wav",
        "audio/webm",
        "audio/x-wav",
        "text/plain",
        "video/mp4",
        "video/ogg",
        "video/quicktime",
        "video/webm",
    }
)


def guessed_type(name: str) -> str | None:
    """The type that a file's ending tells of, None where it tells of none."""
    kind, packed = _TYPES.guess_type(name, strict=False)
    return None if packed else kind


def picture_type(head: bytes) -> str | None:
    """The type of the picture that begins with these bytes, None when it is no picture."""
    if head[4:12] in _AVIF:
        return "image/avif"
    for start, at_eight, kind in _MAGIC:
        if head.startswith(start) and head[8:].startswith(at_eight):
            return kind
    return None


def media_type(name: str, declared: str, head: bytes) -> str:
    """Settle the type of a file: its bytes decide on pictures, then the sender, then its name."""
    if seen := picture_type(head):
        return seen
    said = declared.partition(";")[0].strip().lower()
    if not _TYPE.fullmatch(said) or said == "application/octet-stream":
        said = guessed_type(name) or "application/octet-stream"
    return "application/octet-stream" if said in PICTURES else said
