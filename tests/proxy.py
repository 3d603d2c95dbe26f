"""nginx in front of services, with the configuration of docs/deploy."""

import os
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from bench.peers import free_port, listens, program, running
from tests.live import clean_environment

DEPLOY = Path(__file__).parent.parent / "docs" / "deploy"
HOST = "localhost"
PATIENCE = 60  # seconds


@dataclass(frozen=True)
class Place:
    """A folder with a configuration that runs here, and what it listens on."""

    folder: Path
    port: int
    plain_port: int

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.port}/"

    @property
    def trusted(self) -> Path:
        """The certificate of who signed the proxy's."""
        return self.folder / "ca.pem"

    @property
    def command(self) -> list[str]:
        files = "-p", str(self.folder), "-c", str(self.folder / "nginx.conf"), "-e", "stderr"
        return [program("nginx"), *files]

    def connect(self, name: str = HOST) -> ssl.SSLSocket:
        """Speak TLS with it, under this name."""
        context = ssl.create_default_context(cafile=str(self.trusted))
        sock = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        try:
            return context.wrap_socket(sock, server_hostname=name)
        except OSError:
            sock.close()
            raise

    def log(self, lines: int) -> str:
        """Its access log, as soon as it has so many lines: a line follows its answer."""
        end = time.monotonic() + PATIENCE
        while (text := (self.folder / "access.log").read_text()).count("\n") < lines:
            assert time.monotonic() < end, text
            time.sleep(0.01)
        return text

    def errors(self) -> str:
        return (self.folder / "error.log").read_text()


def prepare(folder: Path, ports: Sequence[int]) -> Place:
    """Copy the configuration, with this machine's names, ports and places; all else stays."""
    folder.mkdir()
    place = Place(folder, free_port(), free_port())
    authority = trustme.CA()
    authority.cert_pem.write_to_path(place.trusted)
    issued = authority.issue_cert(HOST)
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    text = (DEPLOY / "nginx.conf").read_text()
    for there, here in {
        "share.example.org": HOST,
        "/etc/nginx/tls/cert.pem": str(folder / "both.pem"),
        "/etc/nginx/tls/key.pem": str(folder / "both.pem"),
        "/var/log/nginx": str(folder),
        "/run/nginx.pid": str(folder / "nginx.pid"),
        "listen 443": f"listen 127.0.0.1:{place.port}",
        "listen 80": f"listen 127.0.0.1:{place.plain_port}",
        "http {\n": f"http {{\n{_kept_in(folder)}",
    }.items():
        assert there in text, there
        text = text.replace(there, here)
    user = "user root;\n" if os.geteuid() == 0 else ""  # the folder is the test's alone
    (folder / "nginx.conf").write_text(f"daemon off;\n{user}{text}")
    servers = (DEPLOY / "servers.conf").read_text().splitlines()
    line = next(line for line in servers if line.startswith("server "))
    lines = [line.replace("192.0.2.11:8642", f"127.0.0.1:{port}") for port in ports]
    assert line not in lines
    (folder / "servers.conf").write_text("\n".join(lines))
    return place


def _kept_in(folder: Path) -> str:
    kinds = "client_body", "proxy", "fastcgi", "uwsgi", "scgi"
    return "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)


@contextmanager
def proxied(folder: Path, ports: Sequence[int]) -> Iterator[Place]:
    """nginx in front of the services on these ports, until the block ends."""
    place = prepare(folder, ports)
    with running(place.command, folder, clean_environment(), listens(place.port)):
        yield place
