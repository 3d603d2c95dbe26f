"""docs/deploy: each file checked by the tool that will read it, nginx before real services."""

import os
import re
import select
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import yaml

from minus_server.cli import _parser
from tests.live import Service, clean_environment
from tests.proxy import DEPLOY, HOST, Place, prepare, proxied
from tests.rawhttp import TIMEOUT, head

PACKAGES = {"nginx": "nginx-light", "systemd-analyze": "systemd"}
MOST_EXPOSED = "20"  # of 100, by systemd's own count


def need(tool: str) -> None:
    path = f"{os.environ['PATH']}:/usr/sbin"
    if shutil.which(tool, path=path) is None:
        pytest.skip(f"{tool} is missing: apt install {PACKAGES[tool]}")


def run(*command: str) -> str:
    """Run a checker that has to find nothing. -> what it printed"""
    done = subprocess.run(
        command, capture_output=True, text=True, env=clean_environment(), check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


# --- the files ---


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit file, its program one that is there."""
    text = (DEPLOY / "minus.service").read_text()
    assert "/opt/minus/bin/minus-server" in text
    path = tmp_path / "minus.service"
    path.write_text(text.replace("/opt/minus/bin/minus-server", sys.executable))
    return path


def test_systemd_finds_nothing_wrong_with_the_unit(unit: Path) -> None:
    need("systemd-analyze")
    assert run("systemd-analyze", "verify", "--man=no", str(unit)) == ""


def test_systemd_counts_the_unit_as_hardened(unit: Path) -> None:
    need("systemd-analyze")
    limit = f"--threshold={MOST_EXPOSED}"
    run("systemd-analyze", "security", "--offline=true", "--no-pager", limit, str(unit))


def test_compose_file_fits_the_schema_of_the_compose_specification() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    run(*check, str(DEPLOY / "compose.yaml"))


def test_nginx_finds_nothing_wrong_with_its_configuration(tmp_path: Path) -> None:
    need("nginx")
    place = prepare(tmp_path / "nginx", (8642, 8643))
    words = run(*place.command, "-t")
    assert "warn" not in words
    assert "emerg" not in words


def _commands() -> Iterator[list[str]]:
    """What the files make `minus-server` do."""
    unit = (DEPLOY / "minus.service").read_text()
    told = re.findall(r"(?m)^ExecStart=/opt/minus/bin/minus-server (.+)$", unit)
    yield told[0].split()
    for service in yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"].values():
        if service.get("image") == "minus":
            yield service["command"]
    built = (DEPLOY / "Dockerfile").read_text()
    yield yaml.safe_load(re.findall(r"(?m)^CMD (.+)$", built)[0])


def _filled(command: list[str]) -> list[str]:
    """With what the operator's environment has."""
    text = "\n".join(command).replace("${MINUS_BASE_URL}", "https://h/")
    return text.replace("${MINUS_PROXY}", "192.0.2.10").replace("${MINUS_HOST:?}", "h").split("\n")


def test_the_service_understands_what_the_files_tell_it() -> None:
    told = [_parser().parse_args(_filled(each)).run.__name__ for each in _commands()]
    assert sorted(told) == ["_migrate", "_serve", "_serve", "_serve"]


def test_no_file_has_a_password() -> None:
    text = "".join(path.read_text() for path in DEPLOY.iterdir() if path.is_file())
    said = re.findall(r"(?im)^\s*\w*(?:PASSWORD|SECRET|KEY(?:_ID)?)\b\s*[:=]\s*(\S+)", text)
    assert said
    assert [word for word in said if not word.startswith(("${", "..."))] == []
    assert re.findall(r"://[^/\s@]+:[^/\s@]+@", text) == []


# --- nginx, running ---


@dataclass(frozen=True)
class Site:
    """A proxy, and the services behind it."""

    place: Place
    services: list[Service]

    def ask(self, method: str, path: str, **more: str) -> requests.Response:
        """Send a request through the proxy, on a connection of its own."""
        return requests.request(
            method,
            f"{self.place.url}{path}",
            headers=more | {"Referer": "https://elsewhere.test/?from=REFERRED"},
            verify=str(self.place.trusted),
            timeout=TIMEOUT,
            allow_redirects=False,
        )


@dataclass(frozen=True)
class Deaf:
    """A proxy, and behind it who listens and answers nothing."""

    place: Place
    listeners: list[socket.socket]

    def somebody_comes(self, seconds: float = 0) -> list[socket.socket]:
        return select.select(self.listeners, [], [], seconds)[0]

    def hang_up_after(self, ending: bytes) -> None:
        """Read one request to its end, and close."""
        with self.somebody_comes(TIMEOUT)[0].accept()[0] as sock:
            data = b""
            while not data.endswith(ending):
                data += sock.recv(65536)


@pytest.fixture
def deaf(tmp_path: Path) -> Iterator[Deaf]:
    need("nginx")
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        listeners = [one, two]
        ports = [listener.getsockname()[1] for listener in listeners]
        with proxied(tmp_path / "nginx", ports) as place:
            yield Deaf(place, listeners)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    need("nginx")
    base = ("--base-url", f"https://{HOST}/", "--trusted-proxy", "127.0.0.1")
    services = [Service(tmp_path / f"data{number}", base) for number in range(2)]
    for service in services:
        service.start()
    try:
        with proxied(tmp_path / "nginx", [service.port for service in services]) as place:
            yield Site(place, services)
    finally:
        for service in services:
            if service.running:
                service.stop()


def test_the_log_tells_kinds_of_addresses_and_no_secret_of_any(site: Site) -> None:
    secret = "S3cr3tS3cr3t"
    asked = [
        ("GET", f"m{secret}?token={secret}", "GET /m..."),
        ("GET", f"i{secret}.png", "GET /i..."),
        ("GET", f"m{secret}.zip", "GET /m..."),
        ("GET", f"m{secret}/SHA256SUMS", "GET /m.../SHA256SUMS"),
        ("HEAD", f"uploads/{secret}", "HEAD /uploads/..."),
        ("GET", f"api/v2/folders/{secret}/files?bearer_token={secret}", "GET /api/v2/folders..."),
        ("DELETE", f"api/v2/files/{secret}", "DELETE /api/v2/files..."),
        ("GET", f"oauth/token?password={secret}", "GET /oauth/token"),
        ("GET", f"signin/{secret}", "GET /..."),
        ("GET", f"api/GetItems/m{secret}", "GET /api/GetItems..."),
        ("GET", f"{secret}/{secret}", "GET /..."),
        (secret, "", "- /..."),
        ("GET", "signin", "GET /signin"),
        ("GET", "metrics", "GET /m..."),
    ]
    told = [site.ask(method, path).status_code for method, path, _ in asked]
    assert told[-2:] == [200, 404]
    log = site.place.log(len(asked))
    assert re.findall(r'"(.*?)"', log) == [shown for _, _, shown in asked]
    for service in site.services:
        assert f" 127.0.0.1:{service.port} " in log
        assert secret not in service.log()
    assert secret not in log
    assert "REFERRED" not in log
    assert site.place.errors() == ""


def test_a_page_comes_though_one_process_is_gone(site: Site) -> None:
    site.services[0].kill()
    assert [site.ask("GET", "signin").status_code for _ in range(6)] == [200] * 6
    assert f"127.0.0.1:{site.services[0].port}, " in site.place.log(6)
    assert site.place.errors() == ""


def test_what_changes_something_is_not_sent_twice(deaf: Deaf) -> None:
    with deaf.place.connect() as tls:
        tls.sendall(head("POST", "/", {"Host": HOST, "Content-Length": "4"}) + b"some")
        deaf.hang_up_after(b"some")
        assert tls.recv(65536).startswith(b"HTTP/1.1 502 ")
    assert not deaf.somebody_comes()


@pytest.mark.parametrize(
    "framing",
    [
        {"Content-Length": "4", "Transfer-Encoding": "chunked"},
        {"Content-Length": "4, 5"},
        {"Transfer-Encoding": "odd"},
    ],
    ids=("a length and chunks", "two lengths", "an unknown coding"),
)
def test_a_head_that_can_be_read_in_two_ways_ends_at_the_proxy(
    deaf: Deaf, framing: dict[str, str]
) -> None:
    with deaf.place.connect() as tls:
        tls.sendall(head("POST", "/", {"Host": HOST} | framing) + b"some")
        assert tls.recv(65536).startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 "))
    assert not deaf.somebody_comes()


def test_who_names_another_host_is_refused(deaf: Deaf) -> None:
    with pytest.raises(ssl.SSLError):
        deaf.place.connect("other.test")


def test_plain_http_leads_to_tls(deaf: Deaf) -> None:
    url = f"http://127.0.0.1:{deaf.place.plain_port}/mine"
    answer = requests.get(url, timeout=TIMEOUT, allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (301, f"https://{HOST}/mine")
