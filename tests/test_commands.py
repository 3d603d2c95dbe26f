"""The commands of `minus-server`, as an operator types them while the service runs."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, text

from minus_server.schema import files
from tests import rawhttp
from tests.live import Service, clean_environment
from tests.rawhttp import HOST, MULTIPART, Client, multipart, new_user, part


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of this file's own: the tests count all that is in it."""
    running = Service(tmp_path_factory.mktemp("commands") / "data")
    running.start()
    yield running
    assert running.stop() == 0


@pytest.fixture
def elsewhere(tmp_path: Path) -> Service:
    """A data folder that no service runs on."""
    return Service(tmp_path / "data")


def told(done: "subprocess.CompletedProcess[str]") -> tuple[int, str, str]:
    return done.returncode, done.stdout, done.stderr


def blob(service: Service, sha256: str) -> Path:
    """The file that has the bytes."""
    with service.rows() as rows:
        key = rows.execute(select(files.c.blob).where(files.c.sha256 == sha256)).scalar_one()
    return Path(service.data, "blobs", key[:1], key)


def change_row(service: Service, statement: str, **values: str) -> None:
    with service.rows() as rows:
        assert rows.execute(text(statement), values).rowcount == 1


def alone(running: Service) -> Client:
    """A user on a service that has had none yet."""
    return new_user(running, "alone")


# --- serve ---


def test_serve_takes_a_free_port_and_names_it_once_it_answers(service: Service) -> None:
    assert service.url == f"http://127.0.0.1:{service.port}/"
    assert service.port != 0
    described = rawhttp.call(service.port, "GET", "/openapi.json").json()
    assert described["servers"] == [{"url": f"http://127.0.0.1:{service.port}"}]
    assert service.data.stat().st_mode & 0o777 == 0o700
    private = [path for path in service.data.iterdir() if path.stat().st_mode & 0o077]
    assert private == []


def test_links_begin_with_the_address_that_others_use(elsewhere: Service) -> None:
    elsewhere.options = ("--base-url", "https://files.example/minus")
    elsewhere.start()
    alice = alone(elsewhere)
    folder = alice.folder()
    assert elsewhere.url == f"http://127.0.0.1:{elsewhere.port}/"
    assert folder["url"] == f"https://files.example/minus/api/v2/folders/{folder['id']}"
    assert elsewhere.stop() == 0
    # Between two starts the address is the last one.
    assert "url: https://files.example/minus/\n" in elsewhere.run("addclient", "x").stdout


def test_a_port_in_use_is_said_and_exits_2(service: Service, elsewhere: Service) -> None:
    why = f"minus-server: cannot listen on 127.0.0.1:{service.port}: Address already in use\n"
    assert told(elsewhere.run("serve", "--port", str(service.port))) == (2, "", why)
    assert not (elsewhere.data / "service.json").exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_address_that_is_not_loopback_needs_a_base_url(elsewhere: Service, host: str) -> None:
    why = (
        f"minus-server: {host} is not a loopback address: say with --base-url which address"
        " others use, so that links lead there.\n"
    )
    assert told(elsewhere.run("serve", "--host", host, "--port", "0")) == (2, "", why)
    assert not elsewhere.data.exists()


def test_a_folder_is_served_by_one_process(service: Service) -> None:
    why = f"minus-server: {service.data} is served already, at {service.url}\n"
    assert told(service.run("serve", "--port", "0")) == (2, "", why)
    assert rawhttp.call(service.port, "GET", "/openapi.json").status == 200


def stopping(running: Service, idle: socket.socket) -> None:
    """Tell the service to stop and wait until it has begun to: it closes what is idle."""
    os.kill(running.pid, signal.SIGTERM)
    assert rawhttp.drain(idle) == b""
    assert not (running.data / "service.json").exists()


def test_an_upload_in_flight_is_finished_before_the_service_ends(own_service: Service) -> None:
    alice = alone(own_service)
    folder, body = alice.folder(), multipart(part("file", b"x" * 3_000_000, "x.txt"))
    headers = alice.bearer() | {
        "Host": f"{HOST}:{own_service.port}",
        "Content-Type": MULTIPART,
        "Content-Length": str(len(body)),
        "Expect": "100-continue",
    }
    with rawhttp.connect(alice.port) as idle, rawhttp.connect(alice.port) as sock:
        idle.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
        assert rawhttp.receive(idle).status == 200
        sock.sendall(rawhttp.head("POST", f"/api/v2/folders/{folder['id']}/files", headers))
        assert sock.recv(100).startswith(b"HTTP/1.1 100 ")
        sock.sendall(body[:2_000_000])
        stopping(own_service, idle)
        sock.sendall(body[2_000_000:])
        answer = rawhttp.receive(sock)
    assert (answer.status, answer.json()["filesize"]) == (200, 3_000_000)
    assert own_service._reap() == 0
    own_service.start()
    alice.port = own_service.port
    assert alice.raw(answer.json()).body == b"x" * 3_000_000


def test_a_download_in_flight_is_finished_before_the_service_ends(own_service: Service) -> None:
    alice, data = alone(own_service), bytes(range(256)) * 80_000
    row = alice.upload(data)
    with rawhttp.connect(alice.port) as idle, rawhttp.connect(alice.port) as sock:
        idle.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
        assert rawhttp.receive(idle).status == 200
        sock.sendall(rawhttp.head("GET", f"/i{row['id']}", {"Host": "x"}))
        first = sock.recv(1000)
        stopping(own_service, idle)
        came = first + rawhttp.drain(sock)
    assert came.partition(b"\r\n\r\n")[2] == data
    assert own_service._reap() == 0


def test_stop_ends_the_service_and_says_so(own_service: Service) -> None:
    ended = f"The service of {own_service.data} has ended.\n"
    assert told(own_service.run("stop")) == (0, ended, "")
    assert own_service.stop() == 0
    none = f"No service runs on {own_service.data}.\n"
    assert told(own_service.run("stop")) == (0, none, "")
    own_service.start()


# --- accounts and clients ---


def test_accounts_are_made_and_listed(elsewhere: Service) -> None:
    for name, quota, password in (
        ("Alice", (), "number one\n"),
        ("bob", ("--quota", "0"), "number two\r\n"),
        ("carol", ("--quota", "3k"), "number three"),
    ):
        assert told(elsewhere.run("adduser", name, *quota, stdin=password)) == (0, "", "")
    status, table, error = told(elsewhere.run("users"))
    assert (status, error) == (0, "")
    date = r"  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert [re.sub(date, "", line) for line in table.splitlines()] == [
        "Username                                        Used               Quota  Created",
        "Alice                                              0       1099511627776",
        "bob                                                0                   0",
        "carol                                              0                3072",
    ]


NAME = (
    "A username has 1 to 63 letters and digits of ASCII, with . _ - inside,"
    " and is not a word that the service uses."
)


def test_an_account_that_cannot_be_is_refused(service: Service) -> None:
    service.add_user("taken", "long enough")
    for name, stdin, why in (
        ("TAKEN", "long enough\n", "This username is already taken."),
        ("pload", "long enough\n", NAME),
        ("a b", "long enough\n", NAME),
        ("new", "", "The password is empty."),
        ("new", "1234567\n", "The password is shorter than 8 characters."),
    ):
        assert told(service.run("adduser", name, stdin=stdin)) == (1, "", f"minus-server: {why}\n")
    assert re.search("(?im)^(new|a b|pload) ", service.run("users").stdout) is None


@pytest.mark.parametrize("quota", ["-1", "1.5G", "k", "9999999T"])
def test_a_quota_that_is_none_is_refused(elsewhere: Service, quota: str) -> None:
    done = elsewhere.run("adduser", "new", f"--quota={quota}", stdin="long enough\n")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.search(
        f"argument --quota: '{quota}' is (no number of bytes|too large)\n$", done.stderr
    )
    assert not elsewhere.data.exists()


def test_a_new_password_signs_out_whoever_had_the_old_one(service: Service) -> None:
    alice = new_user(service)
    assert told(service.run("passwd", alice.name, stdin="new password\n")) == (0, "", "")
    assert alice.send("GET", "activeuser").status == 401
    assert alice.ask_token(alice.grant()).json()["error"] == "invalid_grant"
    again = alice.with_token(alice.ask_token(alice.grant(password="new password")))
    assert again.get("activeuser")["slug"] == alice.slug
    why = "minus-server: There is no user nobody.\n"
    assert told(service.run("passwd", "nobody", stdin="long enough\n")) == (1, "", why)


def test_addclient_prints_a_config_file_and_nothing_else(service: Service) -> None:
    status, block, error = told(service.run("addclient", "my script"))
    assert (status, error) == (0, "")
    url = re.escape(service.url)
    found = re.fullmatch(rf"\[api\]\nurl: {url}\napi_key: (\S+)\napi_secret: (\S+)\n", block)
    assert found
    # A good key gets as far as the password, a bad one does not.
    grant = Client(service, "nobody", "").grant() | {"client_id": found[1]}
    for secret, error in ((found[2], "invalid_grant"), ("x", "invalid_client")):
        answer = Client(service, "", "").ask_token(grant | {"client_secret": secret})
        assert answer.json()["error"] == error


# --- check ---


@pytest.mark.folder
def test_check_names_each_problem_and_counts_strays_apart(own_service: Service) -> None:
    alice = alone(own_service)
    folder = alice.folder()
    size = 70_000  # more than stays in the catalog
    rows = [alice.upload(bytes([number]) * size, folder=folder) for number in range(5)]
    read = f"5 files, {5 * size} bytes read\n"
    assert told(own_service.run("check")) == (0, f"{read}0 problems\n", "")

    missing, longer, shorter, changed, _ = [blob(own_service, row["sha256"]) for row in rows]
    (own_service.data / "incoming" / "cut-off").write_bytes(b"half")
    missing.rename(missing.with_name("stray"))
    strays = "2 without a row, of uploads under way or cut off\n"
    ids = [f"file {row['id']} in folder {folder['id']}" for row in rows]
    lost = f"{ids[0]}: its bytes are missing\n"
    assert told(own_service.run("check")) == (1, f"{read}{strays}{lost}1 problems\n", "")
    missing.with_name("stray").rename(missing)
    strays = strays.replace("2", "1")
    assert told(own_service.run("check")) == (0, f"{read}{strays}0 problems\n", "")

    missing.unlink()
    longer.write_bytes(b"\1" * (size + 1))
    shorter.write_bytes(b"")
    changed.write_bytes(b"\3" * (size - 1) + b"\4")
    change_row(own_service, "UPDATE folders SET file_count = 7 WHERE id = :id", id=folder["id"])
    change_row(own_service, "UPDATE users SET used = used + 1 WHERE slug = :slug", slug=alice.slug)
    problems = (
        f"{lost}{ids[1]}: it has {size + 1} bytes and should have {size}\n"
        f"{ids[2]}: it has 0 bytes and should have {size}\n"
        f"{ids[3]}: its bytes do not match its SHA-256\n"
        f"folder {folder['id']}: counts 7 files, has 5\n"
        f"user {alice.slug}: counts {5 * size + 1} bytes, has {5 * size}\n"
    )
    assert told(own_service.run("check")) == (1, f"{read}{strays}{problems}6 problems\n", "")


@pytest.mark.parametrize("command", ["check", "passwd alice"])
def test_a_misspelt_folder_is_none_and_is_not_made(elsewhere: Service, command: str) -> None:
    why = f"minus-server: {elsewhere.data} is no data folder of a service.\n"
    assert told(elsewhere.run(*command.split(), stdin="long enough\n")) == (1, "", why)
    assert not elsewhere.data.exists()


def test_a_catalog_that_is_none_is_said(elsewhere: Service) -> None:
    elsewhere.data.mkdir()
    (elsewhere.data / "catalog.sqlite3").write_bytes(b"no database" * 1000)
    done = elsewhere.run("check")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("minus-server: ")
    assert str(elsewhere.data) in done.stderr
    assert "file is not a database" in done.stderr
    assert "Traceback" not in done.stderr


# --- without the extra ---

WITHOUT = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {module!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Nothing())
from minus_server.cli import main
sys.exit(main({argv!r}))
"""


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("granian", "serve"),
        ("starlette", "serve"),
        ("sqlalchemy", "users"),
        ("sqlalchemy", "check"),
        ("argon2", "addclient x"),
    ],
)
def test_without_the_extra_a_command_says_what_to_install(
    tmp_path: Path, module: str, command: str
) -> None:
    argv = [*command.split(), "--data", str(tmp_path / "data")]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(module=module, argv=argv)],
        capture_output=True,
        text=True,
        env=clean_environment(),
        check=False,
    )
    why = (
        "The service's packages are not installed: pip install '.[server]'"
        f" (No module named '{module}')\n"
    )
    assert told(done) == (1, "", why)
    assert not (tmp_path / "data").exists()


def test_the_version_and_the_help_need_no_extra() -> None:
    for option, said in (("--version", "minus-server 2.0.0\n"), ("--help", "usage: minus-server")):
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT.format(module="sqlalchemy", argv=[option])],
            capture_output=True,
            text=True,
            env=clean_environment(),
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(said)
