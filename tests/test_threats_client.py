"""The client against hostile services: each row of the threats that concerns it, by its number.

Where it says `kit`, the service is the one of tests/hostile; `transport` goes both ways to it.
"""

import os
import re
import resource
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote

import certifi
import pytest

import minus
from minus import MinusAPIError, MinusCLI, MinusConfigError, MinusConnection
from tests.hostile import kit as hostile
from tests.hostile.attacks import ATTACKS, NAMES, TWINS
from tests.hostile.kit import CHANGED, DATA, PASSWORD, TOKEN, Kit
from tests.live import Service
from tests.rawhttp import new_user
from tests.shell_helpers import (
    MINUS,
    PATIENCE,
    Done,
    Terminal,
    call,
    configure,
    here,
    put_remote,
    run,
    settle,
    text_stream,
)

ACCOUNT = {"USERNAME": "user", "PASSWORD": PASSWORD, "API_KEY": "KEY", "API_SECRET": "SECRET"}
SECRETS = (PASSWORD, TOKEN, "REFRESH", "SECRET")


@pytest.fixture(autouse=True)
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the command is called in, of a user with an account."""
    folder = settle(monkeypatch, tmp_path)
    for name, value in ACCOUNT.items():
        monkeypatch.setenv(f"MINUS_{name}", value)
    return folder


@pytest.fixture
def kit() -> Iterator[Kit]:
    with Kit(ATTACKS) as running:
        yield running


@pytest.fixture(params=["loopback", "requests"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What carries the requests: this machine's own way, or that to any other one."""
    if request.param == "requests":
        monkeypatch.setattr(minus, "_on_this_machine", lambda _: False)
        monkeypatch.setenv("MINUS_ALLOW_HTTP", "1")
    return str(request.param)


def connected(kit: Kit, attack: str) -> MinusConnection:
    api = MinusConnection("KEY", "SECRET", url=f"{kit.url}{attack}/")
    api.authenticate("user", PASSWORD)
    return api


def _library(kit: Kit, attack: str) -> Done:
    api = connected(kit, attack)
    try:
        folder = api.find("Stuff")
        assert folder
        for file in folder.files():
            file.save(minus.safe_name(file.name))
    except MinusAPIError as error:
        return Done(minus._exit_status(error), "", f"{error}\n")
    finally:
        api.close()
    return Done(0, "", "")


def _command(*args: str, stdin: bytes = b"") -> Callable[[Kit, str], Done]:
    return lambda kit, attack: call("--url", f"{kit.url}{attack}/", *args, stdin=stdin)


ROADS: dict[str, Callable[[Kit, str], Done]] = {
    "library": _library,
    "--get": _command("--get", "Stuff"),
    "mget": _command(stdin=b"cd Stuff\nmget *\n"),
    "get": _command(stdin=b"cd Stuff\nget data.bin\n"),
    "cat": _command(stdin=b"cd Stuff\ncat *\n"),
}
every_road = pytest.mark.parametrize("road", ROADS)
saving_roads = pytest.mark.parametrize("road", [road for road in ROADS if road != "cat"])


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


# --- S1, S2, S3: names ---


@pytest.mark.parametrize("road", ["library", "--get", "mget", "get"])
def test_s01_no_name_of_the_service_leaves_the_folder(
    kit: Kit, local: Path, tmp_path: Path, road: str
) -> None:
    ids = "".join(f"get @I{at}\n" for at in range(len(NAMES)))
    roads = ROADS | {"get": _command(stdin=f"cd Stuff\n{ids}".encode())}
    before = everything(tmp_path) | {"state"}
    assert roads[road](kit, "names").status == 0
    outside = {name for name in everything(tmp_path) - before if not name.startswith("state/")}
    assert {Path(name).parent for name in outside} == {Path("local")}
    assert len(outside) == len(NAMES)
    assert all(path.is_file() and path.read_bytes() == DATA for path in local.iterdir())
    assert not Path("/minus-kit-climbed").exists()


def test_s01_nor_does_one_that_comes_in_a_stream_of_many(
    service: Service, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = new_user(service, "climber")
    folder = user.folder("Stuff")
    for name in ("..\\climbed", "\\climbed", "-rf", "~"):
        put_remote(user, folder, name)
    configure(tmp_path, service, username=user.name)
    for name in ("USERNAME", "API_KEY", "API_SECRET"):
        monkeypatch.delenv(f"MINUS_{name}")
    monkeypatch.setenv("MINUS_PASSWORD", "correct horse")
    assert call("--url", service.url, "--get", "Stuff").status == 0
    names = {"..%5Cclimbed", "%5Cclimbed", "-rf", "~"}
    assert here(local) == dict.fromkeys(names, b"text")
    assert {path.name for path in tmp_path.iterdir()} == {"local", "state", ".minus.conf"}


@saving_roads
def test_s02_a_name_is_no_command_no_option_and_no_stream(kit: Kit, local: Path, road: str) -> None:
    done = ROADS[road](kit, "names" if road != "get" else "honest")
    assert "line 0000000" not in done.out
    assert not (local / "owned").exists()
    if road != "get":
        assert {"|touch owned", "date|", "-", "-rf", "~", "$(touch owned)"} <= set(here(local))


def test_s02_a_local_name_is_no_command_either(kit: Kit, local: Path) -> None:
    for name in ("touch owned|", "-rf", "~"):
        (local / name).write_bytes(b"mine")
    done = call("--url", f"{kit.url}honest/", stdin=b"cd Stuff\nmput *\n")
    assert (done.status, done.out.count("OK (4 bytes)")) == (0, 3)
    assert not (local / "owned").exists()
    done = call("--url", f"{kit.url}honest/", "--put", "Stuff", "--", "-rf", "~")
    assert (done.status, done.out) == (0, '--> PUT "-rf" OK (4 bytes)\n--> PUT "~" OK (4 bytes)\n')


@pytest.mark.parametrize(
    "road", [_command("--get", "Stuff", "data*"), _command(stdin=b"cd Stuff\nmget data*\n")]
)
def test_s03_files_that_nobody_asked_for_stay_away(
    kit: Kit, local: Path, road: Callable[[Kit, str], Done]
) -> None:
    assert road(kit, "unasked").status == 0
    assert here(local) == {"data.bin": DATA}


def test_s03_find_and_glob_look_at_the_names_themselves(kit: Kit) -> None:
    api = connected(kit, "unasked")
    folder = api.find("Stuff")
    assert folder
    assert [file.name for file in folder.glob("data*")] == ["data.bin"]
    assert folder.find("other") is None
    api.close()


# --- S4: texts ---

DRIVES = re.compile(r"[^\n\x20-\x7e\u00a1-\u2027\u202f-\u2065\u206a-\uffff]")
TEXTS = b"ls\ncd Stuff\npwd\nls\nstat *\nlink\nlink *\nmget *\ndf\ncaption data* x\ndel *\n"


@pytest.mark.parametrize("attack", ["escapes", "refusal", "error-escapes", "names"])
@pytest.mark.parametrize(
    "args",
    [
        ["--list-folders"],
        ["--get", "Stuff"],
        ["--put", "Stuff", "mine"],
        ["--share", "mine"],
        ["--debug", "--get", "Stuff"],
        [],
    ],
)
def test_s04_no_text_of_the_service_drives_the_terminal(
    kit: Kit, local: Path, capfd: pytest.CaptureFixture[str], attack: str, args: list[str]
) -> None:
    (local / "mine").write_bytes(b"mine")
    done = call("--url", f"{kit.url}{attack}/", *args, stdin=b"" if args else TEXTS)
    shown = f"{done.out}{done.err}{''.join(capfd.readouterr())}"
    assert shown
    assert DRIVES.findall(shown) == []


def test_s04_nor_does_it_in_the_prompt_by_tab_or_in_python(kit: Kit) -> None:
    api = connected(kit, "escapes")
    shell = MinusCLI(api.activeuser(), text_stream(), text_stream(), text_stream())
    shell.interactive = True
    shell.onecmd("cd Stuff")
    assert shell.folder
    (file,) = shell.folder.files()
    shell.folder._load({"name": file.name})
    for shown in (shell.prompt, repr(file), repr(shell.folder), repr(shell.user)):
        assert DRIVES.findall(shown) == []
    assert "\x1b" in file.name
    assert shell.completedefault("", "get ", 4, 4) == []
    api.close()


def test_s04_nor_in_an_error_that_nobody_catches(kit: Kit) -> None:
    api = connected(kit, "refusal")
    with pytest.raises(MinusAPIError) as caught:
        api.find("Stuff")
    assert DRIVES.findall(str(caught.value)) == []
    api.close()


# --- S5, S6: other places ---


def secret(kit: Kit) -> list[hostile.Request]:
    """Requests elsewhere that carry what is nobody else's business."""
    return [
        request
        for request in kit.astray()
        if {"authorization", "cookie"} & set(request.headers)
        or request.body
        or any(word in request.target for word in SECRETS)
    ]


@every_road
@pytest.mark.parametrize(
    "attack", ["redirect-elsewhere", "redirect-asks", "cookie", "foreign-links", "foreign-list"]
)
@pytest.mark.usefixtures("transport")
def test_s05_no_secret_goes_elsewhere(kit: Kit, attack: str, road: str) -> None:
    ROADS[road](kit, attack)
    assert secret(kit) == []
    assert kit.astray() or (attack[:7], road) == ("foreign", "get")


@pytest.mark.parametrize("args", [["--put", "Stuff", "mine"], ["--share", "mine"]])
@pytest.mark.parametrize("attack", ["upload-elsewhere", "sign-in-elsewhere"])
@pytest.mark.usefixtures("transport")
def test_s05_nothing_that_is_sent_follows_a_redirect(
    kit: Kit, local: Path, attack: str, args: list[str]
) -> None:
    (local / "mine").write_bytes(b"mine")
    assert call("--url", f"{kit.url}{attack}/", "-u", "user", *args).status in (1, 11)
    assert kit.astray() == []


@pytest.mark.usefixtures("transport")
def test_s05_a_link_that_two_parsers_read_as_two_hosts_is_refused(kit: Kit) -> None:
    api = connected(kit, "honest")
    host = kit.url.removeprefix("http://").rstrip("/")
    for link in (f"{kit.elsewhere[:-1]}\\@{host}/x", f"http://{host}@{kit.elsewhere[7:]}x"):
        with pytest.raises(MinusAPIError, match="no web address"):
            api.open(link)
    assert kit.astray() == []
    api.close()


@saving_roads
@pytest.mark.parametrize("attack", ["redirect-name", "disposition-climbs", "disposition-hides"])
@pytest.mark.usefixtures("transport")
def test_s06_the_name_is_that_of_the_list(
    kit: Kit, local: Path, tmp_path: Path, attack: str, road: str
) -> None:
    assert ROADS[road](kit, attack).status == 0
    assert here(local) == {"data.bin": DATA}
    assert {path.name for path in tmp_path.iterdir()} <= {"local", "state"}


# --- S7, S8: credentials ---


@pytest.mark.parametrize("attack", ["honest", "refusal", "redirect-elsewhere", "foreign-links"])
def test_s07_no_secret_is_shown(kit: Kit, capfd: pytest.CaptureFixture[str], attack: str) -> None:
    done = call("--url", f"{kit.url}{attack}/", "--debug", "--get", "Stuff")
    shown = f"{done.out}{done.err}{''.join(capfd.readouterr())}"
    assert "> Authorization: ***" in shown
    assert [word for word in SECRETS if word in shown] == []


def test_s07_a_password_in_the_arguments_is_warned_of(kit: Kit) -> None:
    done = call("--url", f"{kit.url}honest/", "--password", PASSWORD, "--list-folders")
    warning = "minus: others may have seen the password: --password-file FILE hides it\n"
    assert done == (0, "Stuff (1 files)\n", warning)


def test_s07_no_typed_password_comes_into_the_history(
    kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MINUS_PASSWORD")
    with Terminal("--url", f"{kit.url}honest/") as terminal:
        terminal.until("Password: ")
        terminal.type(f"{PASSWORD}\n")
        terminal.until("[/] : ")
        terminal.type("pwd\nquit\n")
        status, shown = terminal.end()
    assert (status, PASSWORD in shown) == (0, False)
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert "pwd" in (tmp_path / "state/minus/history").read_text()
    assert [path for path in kept if PASSWORD in path.read_text()] == []


def modes(folder: Path) -> set[tuple[str, int]]:
    return {
        ("folder" if path.is_dir() else "file", stat.S_IMODE(path.stat().st_mode))
        for path in [folder, *folder.rglob("*")]
    }


def test_s08_tokens_are_their_owners_from_the_start(
    kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **_more: object) -> None:
        raise AssertionError("it was made for others to read")

    for name in ("chmod", "fchmod"):
        monkeypatch.setattr(os, name, refuse)
    before = os.umask(0)
    try:
        assert call("--url", f"{kit.url}honest/", "--list-folders").status == 0
    finally:
        os.umask(before)
    assert modes(tmp_path / "state/minus") == {("folder", 0o700), ("file", 0o600)}


@pytest.mark.parametrize("spoiled", ["link", "readable", "writable", "folder"])
def test_s08_tokens_that_others_can_reach_are_refused(
    kit: Kit, tmp_path: Path, spoiled: str
) -> None:
    args = ("--url", f"{kit.url}honest/", "--list-folders")
    assert call(*args).status == 0
    (tokens,) = (tmp_path / "state/minus/tokens").glob("*.json")
    if spoiled == "link":
        tokens.symlink_to(tokens.rename(tmp_path / "theirs"))
        why = f"{tokens} is a link: remove it"
    elif spoiled == "folder":
        tokens.parent.chmod(0o770)
        why = f"others can write to {tokens.parent}: chmod 700 {tokens.parent}"
    else:
        tokens.chmod(0o644 if spoiled == "readable" else 0o622)
        why = f"others can read {tokens}: chmod 600 {tokens}"
    assert call(*args) == (2, "", f"minus: {why}\n")


# --- S9: TLS ---


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 that nobody vouches for, with its key in the file."""
    path = tmp_path_factory.mktemp("tls") / "own.pem"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9"]
    request += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [*request, "-keyout", path, "-out", f"{path}.crt"], capture_output=True, check=True
    )
    with path.open("ab") as file:
        file.write(Path(f"{path}.crt").read_bytes())
    return path


@pytest.fixture
def secured(certificate: Path) -> Iterator[str]:
    """The address of a kit behind TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with Kit(ATTACKS, tls=context) as running:
        yield running.url


def test_s09_a_certificate_is_verified(secured: str, certificate: Path) -> None:
    args = ("--url", f"{secured}honest/", "--list-folders")
    refused = call(*args)
    assert (refused.status, refused.out) == (1, "")
    assert refused.err.startswith("minus: TLS: ")
    assert call("--cacert", certificate, *args) == (0, "Stuff (1 files)\n", "")
    warning = "minus: --insecure: anybody on the way can read and change what is sent\n"
    for flag in ("-k", "--insecure"):
        assert call(flag, *args) == (0, "Stuff (1 files)\n", warning)


def test_s09_other_certificates_of_the_environment_do_not_overrule_ours(
    secured: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minus, "_on_this_machine", lambda _: False)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certifi.where())
    args = ("--url", f"{secured}honest/", "--list-folders")
    assert call("--cacert", certificate, *args).status == 0
    assert call(*args).status == 1


def test_s09_certificates_that_are_not_there_are_a_config_error(local: Path) -> None:
    done = call("--url", "https://minus.test", "--cacert", local / "none", "--list-folders")
    assert done == (2, "", f"minus: there is no file of certificates {local / 'none'}\n")


def test_s05_https_is_never_left(secured: str, certificate: Path, local: Path) -> None:
    done = call("--cacert", certificate, "--url", f"{secured}redirect-elsewhere/", "--get", "Stuff")
    assert (done.status, here(local)) == (1, {})
    assert "FAILED (refused a redirect away from https)" in done.err


OPEN = (
    "http://minus.test/ would carry passwords and files for all to read: use https:, or allow it"
    " with --allow-http, MINUS_ALLOW_HTTP=1 or allow_http: yes"
)


def test_s09_plain_http_beyond_this_machine_is_refused(local: Path) -> None:
    (local / "mine").write_bytes(b"mine")
    for args in (["--get", "Stuff"], ["--put", "Stuff", "mine"], ["--share", "mine"], ["--web"]):
        assert call("--url", "http://minus.test", *args) == (2, "", f"minus: {OPEN}\n")
    with pytest.raises(MinusConfigError) as caught:
        MinusConnection(url="http://minus.test")
    assert str(caught.value) == OPEN
    for own in ("http://127.0.0.1", "http://127.8.9.10", "http://localhost:1", "http://[::1]"):
        MinusConnection(url=own).close()
    for other in ("http://127.0.0.1.evil.test", "http://localhost.evil.test", "http://10.0.0.1"):
        with pytest.raises(MinusConfigError):
            MinusConnection(url=other)


@pytest.mark.parametrize("way", ["flag", "environment", "file", "argument"])
def test_s09_plain_http_is_allowed_by_word(
    kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(minus, "_on_this_machine", lambda _: False)
    args = ["--url", f"{kit.url}honest/", "--list-folders"]
    assert call(*args).status == 2
    if way == "environment":
        monkeypatch.setenv("MINUS_ALLOW_HTTP", "1")
    if way == "file":
        (tmp_path / ".minus.conf").write_text("[api]\nallow_http: yes\n")
    if way == "argument":
        api = MinusConnection("KEY", "SECRET", url=f"{kit.url}honest/", allow_http=True)
        api.authenticate("user", PASSWORD)
        assert api.find("Stuff")
        api.close()
        return
    assert call(*args, *(["--allow-http"] if way == "flag" else [])).status == 0


def test_s09_a_link_of_the_service_by_http_is_refused(kit: Kit) -> None:
    api = connected(kit, "honest")
    with pytest.raises(MinusAPIError, match=r"^refused http: beyond this machine"):
        api.open("http://minus.test/data.bin")
    api.close()


# --- S10, S11: local files ---


@pytest.mark.parametrize("attack", ["changed", "range-ignored"])
@saving_roads
@pytest.mark.usefixtures("transport")
def test_s10_two_versions_are_never_glued_together(
    kit: Kit, local: Path, attack: str, road: str
) -> None:
    for _ in range(3):
        status = ROADS[road](kit, attack).status
        whole = here(local).get("data.bin")
        assert whole in ((DATA, CHANGED) if status == 0 else (None,))


@pytest.mark.parametrize("choice", ["skip", "overwrite", "rename"])
@pytest.mark.parametrize("victim", ["file", "nothing", "folder"])
@pytest.mark.parametrize("args", [["--get", "Stuff"], ["mget *"], ["get data.bin"]])
def test_s11_a_link_in_the_folder_is_never_written_through(
    kit: Kit, local: Path, tmp_path: Path, choice: str, victim: str, args: list[str]
) -> None:
    outside = tmp_path / "outside"
    if victim == "file":
        outside.write_bytes(b"theirs")
    elif victim == "folder":
        outside.mkdir()
    (local / "data.bin").symlink_to(outside)
    typed = b"" if args[0] == "--get" else f"cd Stuff\n{args[0]}\n".encode()
    command = args if args[0] == "--get" else []
    done = call("--url", f"{kit.url}honest/", "--on-conflict", choice, *command, stdin=typed)
    if victim == "file":
        assert outside.read_bytes() == b"theirs"
    elif victim == "folder":
        assert list(outside.iterdir()) == []
    else:
        assert not outside.exists()
    replaced = choice == "overwrite" and victim != "folder"
    assert (local / "data.bin").is_symlink() is not replaced
    if choice == "rename":
        assert (done.status, (local / "data (2).bin").read_bytes()) == (0, DATA)


BROKEN = ["short", "cut", "wrong-bytes", "endless", "negative-length", "two-lengths", "gzip-bomb"]
BROKEN += ["huge-chunk", "negative-chunk", "endless-headers", "endless-line"]


@pytest.mark.parametrize("attack", BROKEN)
@pytest.mark.usefixtures("transport")
def test_s11_what_is_there_stays_when_what_comes_is_broken(
    kit: Kit, local: Path, attack: str
) -> None:
    (local / "data.bin").write_bytes(b"old")
    done = call("--url", f"{kit.url}{attack}/", "--get", "Stuff", "--on-conflict", "overwrite")
    assert done.status in (5, 10)
    assert here(local)["data.bin"] == b"old"


# --- S12, S13 ---


@pytest.mark.parametrize("attack", ["list-circle", "list-shrinks", "list-total", "list-empty"])
def test_s12_nothing_is_deleted_by_a_list_that_is_not_whole(kit: Kit, attack: str) -> None:
    assert call("--url", f"{kit.url}{attack}/", stdin=b"cd Stuff\ndel *\n").status == 11
    assert [request for request in kit.requests if request.method == "DELETE"] == []


@every_road
@pytest.mark.parametrize("attack", ["short", "cut", "wrong-bytes", "refusal", "error-escapes"])
def test_s13_a_failure_is_no_success(kit: Kit, local: Path, attack: str, road: str) -> None:
    if (attack, road) == ("wrong-bytes", "cat"):
        return  # what is shown at once cannot be taken back
    assert ROADS[road](kit, attack).status != 0
    assert here(local).get("data.bin") is None


# --- S14: what has no end ---

WEIGHTY = ["gzip-bomb", "huge-chunk", "negative-chunk", "endless", "endless-headers"]
WEIGHTY += ["endless-line", "json-huge", "json-packed", "json-deep", "json-numbers", "json-kinds"]
WEIGHTY += ["list-circle", "list-empty", "list-total", "list-shrinks", "redirect-loop"]


@pytest.mark.parametrize("attack", WEIGHTY)
def test_s14_nothing_takes_all_memory(kit: Kit, attack: str) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))

    done = subprocess.run(
        [sys.executable, MINUS, "--url", f"{kit.url}{attack}/", "--get", "Stuff"],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        preexec_fn=limit,
    )
    assert (done.returncode in (1, 4, 5, 10), done.stderr.count("\n")) == (True, 1)
    assert "Memory" not in done.stderr


@pytest.mark.parametrize("attack", WEIGHTY)
@every_road
def test_s14_every_road_ends(
    kit: Kit, monkeypatch: pytest.MonkeyPatch, attack: str, road: str
) -> None:
    monkeypatch.setattr(minus, "_on_this_machine", lambda _: False)
    monkeypatch.setenv("MINUS_ALLOW_HTTP", "1")
    done = ROADS[road](kit, attack)
    found_before = road == "get" and attack in ("list-circle", "list-shrinks", "json-kinds")
    assert (done.status != 0) or found_before


def test_s14_a_list_that_grows_while_it_is_read_ends(kit: Kit) -> None:
    done = call("--url", f"{kit.url}list-endless/", stdin=b"cd Stuff\nls\n")
    assert (done.status, done.err) == (11, "minus: the list is broken: 1004 of 1005 items came\n")


def test_s14_no_list_has_endless_pages(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minus, "MAX_PAGES", 3)
    done = call("--url", f"{kit.url}list-endless/", stdin=b"cd Stuff\nls\n")
    assert (done.status, done.err) == (11, "minus: the list has no end\n")


@pytest.mark.parametrize("attack", ["drip-head", "drip-body", "json-drip", "endless-continue"])
@every_road
@pytest.mark.usefixtures("transport")
def test_s14_drips_end(
    kit: Kit, local: Path, monkeypatch: pytest.MonkeyPatch, attack: str, road: str
) -> None:
    monkeypatch.setattr(minus, "DEADLINE", 0.7)
    monkeypatch.setattr(hostile, "DRIP_SECONDS", 0.02)
    done = ROADS[road](kit, attack)
    assert done.status == (5 if road in ("library", "--get") else 11)
    assert re.search("does not answer|too slow", done.err)
    assert "data.bin" not in here(local)


def test_s14_a_drip_below_tls_ends_too(
    secured: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minus, "DEADLINE", 0.3)
    monkeypatch.setattr(hostile, "DRIP_SECONDS", 0.02)
    for attack in ("drip-head", "drip-body", "json-drip"):
        done = call("--cacert", certificate, "--url", f"{secured}{attack}/", "--get", "Stuff")
        assert (done.status, "slow" in done.err or "answer" in done.err) == (5, True)


def test_s14_who_is_slow_but_not_too_slow_is_waited_for(
    kit: Kit, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minus, "DEADLINE", 0.3)
    for _ in range(3):
        assert ROADS["--get"](kit, "honest").status == 0
        threading.Event().wait(0.2)
    assert here(local) == {"data.bin": DATA}


# --- S15, S16, S17: names again ---

EVIL = 'a"b\r\nX-Evil: 1\r\n\r\n--x.txt'


def test_s15_a_name_breaks_no_request(kit: Kit) -> None:
    api = connected(kit, "honest")
    folder = api.find("Stuff")
    assert folder
    folder.new(EVIL, b"mine", caption=EVIL, mimetype="text/plain\r\nX-Evil: 1")
    gallery = api.new_gallery()
    gallery.new(EVIL, b"mine", caption=EVIL, mimetype="text/plain\r\nX-Evil: 1")
    assert [request.target for request in kit.requests if "x-evil" in request.headers] == []
    assert all(request.target.isprintable() for request in kit.requests)
    (sent,) = [r.body for r in kit.requests if "UploadItem" in r.target]
    assert b'filename="a%22b%0D%0AX-Evil' in sent
    api.close()


@pytest.mark.parametrize(
    "name",
    [
        "CON",
        "nul",
        "NUL .txt",
        "com1.txt",
        "COM¹",
        "conout$",
        "a:b",
        "file::$DATA",
        "x.",
        "x ",
        "a?b",
    ],
)
def test_s16_what_windows_keeps_for_itself_is_encoded_reversibly(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(minus, "_ON_WINDOWS", True)
    safe = minus.safe_name(name)
    assert safe != name
    assert minus._RESERVED.fullmatch(safe) is None
    assert not re.search(r'[<>:"|?*]|[. ]$', safe)
    assert unquote(safe) == name


@pytest.mark.parametrize("road", ["--get", "mget"])
def test_s16_names_that_are_one_on_some_disks_all_arrive(kit: Kit, local: Path, road: str) -> None:
    assert ROADS[road](kit, "twins").status == 0
    assert len({minus._folded(name) for name in here(local)}) == len(TWINS)


@pytest.mark.parametrize("road", ["--get", "mget"])
def test_s17_no_file_takes_another_ones_place(kit: Kit, local: Path, road: str) -> None:
    assert ROADS[road](kit, "twins").out.count("OK (650000 bytes)") == len(TWINS)
    assert list(here(local).values()) == [DATA] * len(TWINS)


# --- S18 ---


def test_s18_nothing_is_read_from_the_folder_one_stands_in(
    service: Service, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = new_user(service, "stander")
    configure(tmp_path, service, username=user.name)
    for name in [name for name in os.environ if name.startswith("MINUS_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("PYTHONPATH")
    monkeypatch.setenv("MINUS_PASSWORD", "correct horse")
    evil = "[api]\nurl: http://127.0.0.1:1\n"
    for name in (
        ".minus.conf",
        "minus.conf",
        ".netrc",
        "minus/minus.conf",
        ".config/minus/minus.conf",
    ):
        (local / name).parent.mkdir(parents=True, exist_ok=True)
        (local / name).write_text(evil)
    for name in ("requests", "tqdm", "readline", "minus_server", "json", "sitecustomize"):
        (local / f"{name}.py").write_text("raise SystemExit('planted')\n")
    for name in ("sh", "git", "less", "vi"):
        (local / name).write_text("#!/bin/sh\ntouch planted\n")
        (local / name).chmod(0o755)
    user.folder("Mine", "false")
    assert run("--list-folders") == (0, "Mine (0 files)\n", "")
    assert not (local / "planted").exists()
