"""What an operator sees: how a service ends, whether it is well, its figures, its log."""

import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from minus_server.databases import is_busy
from minus_server.health import KEPT_SECONDS
from tests import postgres
from tests.live import Service, clean_environment
from tests.postgres import database_with_tables, drop_database
from tests.rawhttp import (
    HOST,
    MULTIPART,
    PASSWORD,
    Answer,
    call,
    connect,
    encode,
    error_of,
    head,
    multipart,
    new_user,
    part,
    receive,
)

PATIENCE = 60  # seconds for what has to happen
TOLD = ("--access-log", "on", "--trusted-proxy", "127.0.0.1", "--anonymous-galleries", "1000")


def until(happens: Callable[[], bool]) -> None:
    patience = time.monotonic() + PATIENCE
    while not happens():
        assert time.monotonic() < patience
        threading.Event().wait(0.02)


@pytest.fixture(scope="module", params=["text", "json"])
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> "Told":
    """Services that write a line for each request, one as text and one as JSON."""
    service = Service(tmp_path_factory.mktemp("told") / "data")
    service.options = (*TOLD, "--log-format", request.param)
    service.start()
    request.addfinalizer(service.stop)
    return Told(service, is_json=request.param == "json")


class Told:
    """A service, and what its log says of each request."""

    def __init__(self, service: Service, *, is_json: bool) -> None:
        self.service, self.port, self.is_json = service, service.port, is_json

    def lines(self, known: str) -> list[dict[str, Any]]:
        """What the log has of the request of this id."""
        until(lambda: f"{known}" in self.service.log())
        lines = [line for line in self.service.log().splitlines() if known in line]
        return [self._read(line) for line in lines]

    def _read(self, line: str) -> dict[str, Any]:
        if self.is_json:
            return dict(json.loads(line))
        found = re.fullmatch(r"(\S+ \S+) ([A-Z]+) (.*?)((?: \w+=(?:\S+|\".*\"))*)", line)
        assert found, line
        fields = dict(re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)', found[4]))
        return {"level": found[2].lower(), "message": found[3], **fields}

    def of(self, answer: Answer) -> dict[str, str]:
        """The line of an answer, all of it as text."""
        (line,) = self.lines(answer.headers["X-Request-Id"])
        return {key: str(value) for key, value in line.items()}


# --- the end ---


def test_a_process_that_has_served_leaves_without_pythons_finalization(tmp_path: Path) -> None:
    code = "import atexit, sys; atexit.register(print, 'finalized', file=sys.stderr)"
    service = Service(
        tmp_path / "data", program=("-c", f"{code}; from minus_server.cli import run; run()")
    )
    service.start()
    assert service.stop() == 0
    assert service.log() == ""


# --- health ---


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_service_that_is_well_says_so_to_anybody(
    service: Service, path: str, method: str
) -> None:
    answer = call(service.port, method, path, {"Host": "any.example"})
    assert (answer.status, answer.body) == (200, b"ok" if method == "GET" else b"")
    assert answer.headers["Cache-Control"] == "no-store"


def test_the_service_of_one_machine_says_so_too(tmp_path: Path) -> None:
    service = Service(tmp_path / "data", ("--embedded",))
    service.start()
    assert call(service.port, "GET", "/", {"Host": "any.example"}).status == 421
    assert call(service.port, "GET", "/healthz", {"Host": "any.example"}).status == 200
    assert service.stop() == 0


def broken(service: Service, part: str) -> contextlib.AbstractContextManager[None]:
    """A part of the service fails for a while."""

    @contextlib.contextmanager
    def folder() -> Iterator[None]:
        there, away = service.data / "incoming", service.data / "away"
        there.rename(away)
        yield
        away.rename(there)

    @contextlib.contextmanager
    def table() -> Iterator[None]:
        with closing(sqlite3.connect(service.data / "catalog.sqlite3")) as rows:
            rows.execute("ALTER TABLE alembic_version RENAME TO away")
            yield
            rows.execute("ALTER TABLE away RENAME TO alembic_version")

    return folder() if part == "store" else table()


@pytest.mark.alone
@pytest.mark.parametrize("part", ["catalog", "store"])
def test_a_service_that_cannot_work_names_the_part_and_logs_it_once(
    own_service: Service, part: str
) -> None:
    def ready() -> Answer:
        return call(own_service.port, "GET", "/readyz")

    with broken(own_service, part):
        until(lambda: ready().status == 503)
        assert ready().body == part.encode()
        assert call(own_service.port, "GET", "/healthz").status == 200
    until(lambda: ready().status == 200)
    (line,) = own_service.log().splitlines()
    assert f"ERROR Not ready: the {part}: " in line


@pytest.fixture
def on_postgres(tmp_path: Path) -> Iterator[Service]:
    """A service on a database of its own, which may be harmed."""
    service = Service(tmp_path / "data", ("--trusted-proxy", "127.0.0.1"))
    service.environment = {"MINUS_DATABASE_URL": postgres.database_with_tables()}
    service.start()
    yield service
    assert service.stop() == 0
    assert "Traceback" not in service.log()
    postgres.drop_database(service.environment["MINUS_DATABASE_URL"])


@pytest.mark.parametrize("state", ["25006", "0A000", "25P03", "57P05"])
def test_a_database_that_is_away_for_now_is_503(on_postgres: Service, state: str) -> None:
    alice = new_user(on_postgres)
    with on_postgres.rows() as rows:
        rows.execute(
            text(
                "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
                f" $$ BEGIN RAISE EXCEPTION 'away' USING ERRCODE = '{state}'; END $$"
            )
        )
        rows.execute(text("CREATE TRIGGER away BEFORE INSERT ON folders EXECUTE FUNCTION fail()"))
    _, headers, body = encode("form", {"name": "Stuff", "is_public": "true"})
    path = f"users/{alice.slug}/folders"
    answer = alice.call("POST", path, headers | alice.bearer(), body)
    assert error_of(answer) == (503, "temporarily_unavailable")
    assert answer.headers["Retry-After"] == "1"


def test_a_database_that_takes_no_writes_is_not_ready(on_postgres: Service) -> None:
    name = make_url(on_postgres.environment["MINUS_DATABASE_URL"]).database

    def ready() -> Answer:
        return call(on_postgres.port, "GET", "/readyz")

    assert ready().status == 200
    postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with on_postgres.rows() as rows:
        rows.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    until(lambda: (ready().status, ready().body) == (503, b"catalog"))
    threading.Event().wait(2 * KEPT_SECONDS)
    assert ready().status == 503
    postgres.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    until(lambda: ready().status == 200)  # it does not stay with the connections that it had


def test_a_transaction_that_the_server_ended_may_be_tried_again(on_postgres: Service) -> None:
    with on_postgres.opened() as service:
        with pytest.raises(DBAPIError) as caught, service.catalog.write() as rows:
            rows.connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 1"))
            threading.Event().wait(0.2)
            rows.ping()
        assert is_busy(caught.value)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_service_that_drains_is_not_ready_though_it_answers(tmp_path: Path, workers: str) -> None:
    service = Service(tmp_path / "data", ("--drain", "60", "--workers", workers))
    service.start()

    def ready() -> Answer:
        return call(service.port, "GET", "/readyz")

    assert ready().status == 200
    os.kill(service.pid, signal.SIGTERM)
    until(lambda: ready().status == 503)
    assert ready().body == b"stopping"
    assert call(service.port, "GET", "/").status == 200
    assert not (service.data / "service.json").exists()
    service.kill()


def test_a_service_that_has_drained_ends(tmp_path: Path) -> None:
    service = Service(tmp_path / "data", ("--drain", "1"))
    service.start()
    assert service.stop() == 0
    assert service.log() == ""


# --- request ids ---


def test_every_answer_has_an_id_of_its_own(told: Told) -> None:
    answers = [
        call(told.port, "GET", "/"),
        call(told.port, "GET", "/healthz"),
        call(told.port, "GET", "/api/v2/activeuser"),
        call(told.port, "PUT", "/api/v2"),
        call(told.port, "GET", "/l0000000000000", {"Accept": "text/html"}),
    ]
    assert [answer.status for answer in answers] == [200, 200, 401, 405, 404]
    known = [answer.headers["X-Request-Id"] for answer in answers]
    assert len(set(known)) == len(known)
    assert all(re.fullmatch("[0-9a-f]{16}", one) for one in known)


@pytest.mark.parametrize("given", ["a", "A-b_c.9", "x" * 64])
def test_an_id_that_a_trusted_proxy_gives_is_kept(told: Told, given: str) -> None:
    answer = call(told.port, "GET", "/", {"X-Request-Id": given})
    assert answer.headers.get_all("X-Request-Id") == [given]


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a\tb", "é", '"'])
def test_what_is_no_id_is_replaced(told: Told, given: str) -> None:
    answer = call(told.port, "GET", "/", {"X-Request-Id": given})
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["X-Request-Id"])


def test_the_id_that_a_stranger_gives_is_replaced(service: Service) -> None:
    answer = call(service.port, "GET", "/", {"X-Request-Id": "mine"})
    assert answer.headers["X-Request-Id"] != "mine"


# --- the log ---


def test_a_request_has_one_line_with_its_template_and_no_address(told: Told) -> None:
    alice = new_user(told.service, "alice")
    row = alice.upload(b"x" * 1234, "name.txt")
    got = told.of(call(told.port, "GET", f"/i{row['id']}?q=1", {"X-Forwarded-For": "192.0.2.7"}))
    assert float(got.pop("ms")) > 0
    expected = {"client": "192.0.2.7", "method": "GET", "route": "/i{link}", "status": "200"}
    assert expected.items() <= got.items()
    assert (got["bytes"], got["level"], got["message"]) == ("1234", "info", "request")
    assert "user" not in got
    listed = told.of(alice.send("GET", f"folders/{row['folder'].rpartition('/')[2]}"))
    assert (listed["user"], listed["route"]) == (alice.slug, "/api/v2/folders/{id}")


@pytest.mark.parametrize(
    ("method", "path", "route", "status"),
    [
        ("GET", "/api/v2/nowhere/at/all", "none", 404),
        ("GET", "/static/drop.js", "/static", 200),
        ("BREW", "/", "/", 405),
        ("GET", "/m0000000000000/edit", "/m{id}/edit", 405),
        ("GET", "/some-name", "/{name}", 404),
    ],
)
def test_whatever_is_asked_has_a_template(
    told: Told, method: str, path: str, route: str, status: int
) -> None:
    answer = call(told.port, method, path)
    line = told.of(answer)
    assert (answer.status, line["route"], line["status"]) == (status, route, str(status))


def test_an_address_that_a_proxy_tells_forges_no_field(told: Told) -> None:
    forged = 'x" status=200 user=root é'
    answer = call(told.port, "GET", "/nowhere", {"X-Forwarded-For": forged})
    line = told.of(answer)
    assert line["status"] == "404"
    assert "user" not in line
    assert "é" not in told.service.log()


def test_health_has_no_line(told: Told) -> None:
    answers = [call(told.port, "GET", path) for path in ("/healthz", "/readyz")]
    last = call(told.port, "GET", "/")
    told.of(last)
    assert not any(answer.headers["X-Request-Id"] in told.service.log() for answer in answers)


def test_a_service_has_no_lines_unless_it_is_asked_for_them(own_service: Service) -> None:
    assert call(own_service.port, "GET", "/").status == 200
    assert own_service.stop() == 0
    assert own_service.log() == ""


@pytest.mark.alone
def test_a_fault_is_logged_once_under_the_id_of_its_answer(told: Told) -> None:
    row = new_user(told.service, "alice").upload(b"x" * 100_000, "big.bin")
    (blob,) = (path for path in (told.service.data / "blobs").rglob("*") if path.is_file())
    blob.unlink()
    blob.mkdir()
    answer = call(told.port, "GET", f"/i{row['id']}", {"Accept": "text/html", "Range": "bytes=1-"})
    blob.rmdir()
    assert answer.status == 500
    known = answer.headers["X-Request-Id"]
    until(lambda: len(told.lines(known)) == 2)  # the second comes behind the answer
    fault, access = told.lines(known)
    assert (fault["level"], fault["message"]) == ("error", "A request failed")
    assert (access["message"], str(access["status"])) == ("request", "500")
    assert told.service.log().count("IsADirectoryError: ") == 1
    if told.is_json:
        assert fault["error"].startswith("Traceback (most recent call last):\n")
        assert all(json.loads(line)["time"] for line in told.service.log().splitlines())


def test_a_catalog_that_is_away_is_named_once_a_request(tmp_path: Path) -> None:
    url = database_with_tables()
    options = ("--trusted-proxy", "127.0.0.1")
    service = Service(tmp_path / "data", options, environment={"MINUS_DATABASE_URL": url})
    service.start()
    alice = new_user(service, "alice")
    drop_database(url)
    answers = [alice.call("GET", "activeuser", alice.bearer()) for _ in range(2)]
    far = {"X-Forwarded-For": "203.0.113.5"}  # whose misses are counted
    answers.append(call(service.port, "GET", "/iAAAAAAAAAAAA", far))
    service.kill()
    assert [answer.status for answer in answers] == [503] * 3
    said = [line.partition(" WARNING ")[2] for line in service.log().splitlines()]
    known = [f"request={answer.headers['X-Request-Id']}" for answer in answers]
    cause = "GET was refused: the catalog failed:"
    kinds = ("AdminShutdown", "OperationalError", "OperationalError")  # it ends, it is gone
    assert said == [f"{cause} {kind} {told}" for kind, told in zip(kinds, known, strict=True)]


def secrets_of_all_kinds(told: Told) -> set[str]:
    """Make requests with everything that must not be seen. -> all of that"""
    port, alice = told.port, new_user(told.service, "alice")
    folder = alice.folder()
    row = alice.upload(b"text", "title of a file.txt", folder)
    seen = {PASSWORD, alice.token, told.service.api_secret, folder["id"], row["id"], row["name"]}
    made = call(port, "POST", "/api/CreateGallery").json()
    seen |= {made["editor_id"], made["reader_id"]}
    form = {"Content-Type": MULTIPART}
    for name in (made["editor_id"], "wrongeditor00"):
        body = multipart(part("editor_id", name.encode()), part("file", b"x", "dropped.txt"))
        call(port, "POST", "/api/UploadItem", form, body)
        call(port, "GET", f"/m{name}")
        call(port, "POST", f"/m{name}/edit?editor_id={name}", form, multipart(part("name", b"x")))
    tus = {"Tus-Resumable": "1.0.0", "Upload-Length": "6", **alice.bearer()}
    begun = alice.call("POST", f"folders/{folder['id']}/uploads", tus)
    secret = begun.headers["Location"].rpartition("/")[2]
    for offset in ("0", "5"):  # one that fits, one that does not
        sent = tus | {"Upload-Offset": offset, "Content-Type": "application/offset+octet-stream"}
        call(port, "PATCH", f"/uploads/{secret}", sent, b"abc")
    query, headers, body = encode("form", {"username": alice.name, "password1": "wrong password"})
    call(port, "POST", f"/api/SignIn{query}", headers, body)
    query, headers, body = encode("form", {"username": alice.name, "password1": PASSWORD})
    signed = call(port, "POST", f"/api/SignIn{query}", headers, body)
    session = signed.headers["Set-Cookie"].partition(";")[0].partition("=")[2]
    call(port, "GET", "/mine?note=asked-for", {"Cookie": f"sessionid={session}"})
    call(port, "GET", f"/api/v2/activeuser?bearer_token={alice.token}")
    call(port, "GET", "/signin/guessed-secret")
    call(port, "PUT", "/name-of-a-drop.txt", {}, b"x")
    return (
        seen
        | {secret, session, "wrong password", "wrongeditor00", "asked-for"}
        | {
            "guessed-secret",
            "name-of-a-drop",
            "dropped.txt",
        }
    )


def test_no_id_and_no_secret_reaches_the_lines_of_requests(told: Told) -> None:
    unseen = secrets_of_all_kinds(told)
    told.of(call(told.port, "GET", "/"))
    log = told.service.log()
    assert [secret for secret in unseen if secret in log] == []
    assert "/uploads/{secret}" in log
    assert "/m{id}/edit" in log
    assert "?" not in re.sub(r"File .*", "", log)


def test_errors_of_the_start_are_json_too(tmp_path: Path) -> None:
    service = Service(tmp_path / "data")
    done = service.run("serve", "--log-format", "json", "--host", "0.0.0.0")
    said = json.loads(done.stderr)
    assert (done.returncode, said["level"]) == (2, "critical")
    assert said["message"].startswith("0.0.0.0 is not a loopback address: say with --base-url")


def test_nothing_that_python_writes_by_itself_bypasses_the_log() -> None:
    code = (
        "import gc, threading, warnings; from minus_server.logs import Style;"
        " Style('json').set_up(); warnings.warn('of a\\nlibrary');"
        " thread = threading.Thread(target=lambda: 1 / 0); thread.start(); thread.join();\n"
        "class Odd:\n"
        "    def __del__(self): raise KeyError('odd')\n"
        "Odd(); gc.collect(); raise ValueError('the end')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=clean_environment(),
        check=False,
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.returncode == 1
    assert [line["level"] for line in lines] == ["warning", *["critical"] * 3]
    assert "of a\nlibrary" in lines[0]["message"]
    ends = [line["error"].strip().splitlines()[-1] for line in lines[1:]]
    assert ends == ["ZeroDivisionError: division by zero", "KeyError: 'odd'", "ValueError: the end"]


# --- figures ---


class Figures:
    """A service that tells its figures."""

    def __init__(self, data: Path, *options: str) -> None:
        self.service = Service(data, ("--metrics", "0", *options))
        self.service.start()
        assert self.service.line().startswith("Anonymous galleries")
        found = re.fullmatch(r"Metrics at http://127.0.0.1:(\d+)/metrics\n", self.service.line())
        assert found
        self.port = int(found[1])

    def now(self, name: str, **labels: str) -> float:
        """The sum of all samples of this name that have these labels."""
        text = call(self.port, "GET", "/metrics").body.decode()
        families = list(text_string_to_metric_families(text))
        assert all(family.documentation for family in families)
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def come_to(self, value: float, name: str, **labels: str) -> None:
        """Wait for this sum: a request is counted after whoever asked has its answer."""
        until(lambda: self.now(name, **labels) == value)


@pytest.fixture(scope="module", params=[1, 3], ids=["alone", "workers"])
def figures(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Figures]:
    folder = tmp_path_factory.mktemp("figures")
    made = Figures(folder / "data", "--workers", str(request.param))
    yield made
    assert made.service.stop() == 0
    assert made.service.log() == ""


def test_requests_are_counted_by_method_template_and_status(figures: Figures) -> None:
    port = figures.service.port
    row = new_user(figures.service, "alice").upload(b"x" * 1000)
    for _ in range(20):
        call(port, "GET", f"/i{row['id']}")
    call(port, "GET", "/i0000000000000")
    name = "minus_http_requests_total"
    figures.come_to(20, name, method="GET", route="/i{link}", status="200")
    figures.come_to(1, name, method="GET", route="/i{link}", status="404")
    figures.come_to(21, "minus_http_request_duration_seconds_count", route="/i{link}")
    assert figures.now("minus_http_sent_bytes_total") >= 20_000
    assert figures.now("minus_http_received_bytes_total") >= 1000
    assert figures.now("minus_catalog_wait_seconds_count") >= 21
    figures.come_to(0, "minus_catalog_connections_in_use")
    assert figures.now("minus_build_info") == 1
    call(port, "BREW", "/")
    figures.come_to(1, name, method="other", route="/", status="405")


def test_no_figure_tells_an_id(figures: Figures) -> None:
    row = new_user(figures.service, "alice").upload(b"x")
    for path in (f"/i{row['id']}", f"/l{row['id']}", f"/{row['id']}", f"/none/{row['id']}"):
        call(figures.service.port, "GET", path)
    text = call(figures.port, "GET", "/metrics").body.decode()
    assert 'route="/i{link}"' in text
    assert row["id"] not in text


def test_what_is_under_way_is_counted_until_it_ends(figures: Figures) -> None:
    alice = new_user(figures.service, "alice")
    path = f"/api/v2/folders/{alice.folder()['id']}/files/big.bin"
    with connect(figures.service.port) as sock:
        headers = {"Host": "h", "Content-Length": "200000", **alice.bearer()}
        sock.sendall(head("PUT", path, headers) + bytes(100_000))
        figures.come_to(1, "minus_uploads_in_progress")
        assert figures.now("minus_http_requests_in_progress") == 1
        sock.sendall(bytes(100_000))
        assert receive(sock).status in (200, 201)
    figures.come_to(0, "minus_http_requests_in_progress")
    figures.come_to(0, "minus_uploads_in_progress")


def test_wrong_passwords_are_counted(figures: Figures) -> None:
    alice = new_user(figures.service, "alice")
    before = figures.now("minus_sign_ins_refused_total")
    for _ in range(3):
        assert alice.ask_token(alice.grant(password="wrong")).status == 400
    assert alice.ask_token(alice.grant()).status == 200
    assert figures.now("minus_sign_ins_refused_total") == before + 3


def test_what_a_dead_worker_counted_stays_and_what_it_had_under_way_does_not(
    tmp_path: Path,
) -> None:
    figures = Figures(tmp_path / "data", "--workers", "2")
    service = figures.service
    alice = new_user(service, "alice")
    path = f"/api/v2/folders/{alice.folder()['id']}/files/big.bin"
    for _ in range(10):
        call(service.port, "GET", "/")
    asked = {"name": "minus_http_requests_total", "route": "/"}
    figures.come_to(10, **asked)
    with connect(service.port) as sock:
        headers = {"Host": "h", "Content-Length": "200000", **alice.bearer()}
        sock.sendall(head("PUT", path, headers) + bytes(100_000))
        figures.come_to(1, "minus_uploads_in_progress")
        threads = Path(f"/proc/{service.pid}/task").iterdir()
        for child in " ".join((thread / "children").read_text() for thread in threads).split():
            os.kill(int(child), signal.SIGKILL)
        figures.come_to(0, "minus_uploads_in_progress")

    def answers() -> bool:
        with contextlib.suppress(ConnectionError):
            return call(service.port, "GET", "/").status == 200
        return False

    until(answers)
    figures.come_to(11, **asked)
    assert service.stop() == 0


def test_figures_are_told_on_their_own_port_alone(figures: Figures) -> None:
    assert call(figures.service.port, "GET", "/metrics").status == 404
    assert call(figures.port, "GET", "/other").status == 404
    assert call(figures.port, "GET", "/metrics").headers["Content-Type"].startswith("text/plain;")
    assert call(figures.port, "POST", "/metrics").status == 501


def test_a_port_for_figures_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        place = f"{HOST}:{taken.getsockname()[1]}"
        done = Service(tmp_path / "data").run("serve", "--port", "0", "--metrics", place)
    words = f"minus-server: cannot listen for metrics on {place}: Address already in use\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", words)


@pytest.mark.parametrize("place", ["nine", "127.0.0.1", "::1:9", "127.0.0.1:", "[::1]", ":99999"])
def test_a_place_for_figures_that_is_none_is_an_error_of_usage(tmp_path: Path, place: str) -> None:
    done = Service(tmp_path / "data").run("serve", f"--metrics={place}")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--metrics" in done.stderr.splitlines()[-1]
