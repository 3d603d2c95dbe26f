"""A service behind a line, with somebody who runs the real command there."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults import Line
from tests.live import Service, clean_environment
from tests.rawhttp import ALL, PASSWORD, Client, Row
from tests.shell_helpers import MINUS, PATIENCE, Done, configure
from tests.test_durability import sound


@dataclass
class Site:
    """A service behind a line, and somebody's home with an account there."""

    service: Service
    line: Line
    home: Path
    user: Client
    folder: str = ""
    local: Path = field(default_factory=Path)

    def start(self) -> None:
        """Start the service again, where it was."""
        self.service.start(self.line.target)

    def spawn(
        self, *args: str, program: tuple[str, ...] = (str(MINUS),), before: tuple[str, ...] = ()
    ) -> "subprocess.Popen[bytes]":
        """Start the command in the local folder."""
        places = {f"XDG_{name}_HOME": str(self.home / name) for name in ("STATE", "DATA", "CONFIG")}
        account = {"MINUS_USERNAME": self.user.name, "MINUS_PASSWORD": PASSWORD}
        own = {"HOME": str(self.home), "PYTHONPATH": str(MINUS.parent), "TERM": "dumb"}
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [*before, sys.executable, *program, *args],
            cwd=self.local,
            env=clean_environment(**places, **account, **own),
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
        )

    def run(self, *args: str, stdin: bytes = b"", **how: Any) -> Done:
        """Run the command to its end."""
        with self.spawn(*args, **how) as process:
            out, err = process.communicate(stdin, timeout=PATIENCE)
        assert b"Traceback" not in err, err
        return Done(process.returncode, out.decode("utf-8", "replace"), err.decode())

    def put(self, files: Mapping[str, bytes], *more: str, **how: Any) -> Done:
        return self.run(*more, "--put", self.folder, *self.given(files), **how)

    def get(self, *more: str, **how: Any) -> Done:
        return self.run(*more, "--get", self.folder, **how)

    def given(self, files: Mapping[str, bytes]) -> list[str]:
        """Local files, beside the folder that the command stands in. -> their paths"""
        place = self.local.parent / "given"
        place.mkdir(exist_ok=True)
        for name, data in files.items():
            (place / name).write_bytes(data)
        return [str(place / name) for name in files]

    def new_folder(self) -> str:
        self.user.folder(self.folder)
        return self.folder

    def rows(self) -> list[Row]:
        """The files of the test's folder, none where there is no such folder."""
        folders = self.user.get(f"users/{self.user.slug}/folders?name={self.folder}&per_page=100")
        return [
            row
            for folder in folders["results"]
            for row in self.user.get(f"folders/{folder['id']}/files?per_page=1000")["results"]
        ]

    def assert_service_has(self, files: Mapping[str, bytes]) -> None:
        """Exactly these, each once, byte for byte."""
        rows = self.rows()
        assert sorted(row["name"] for row in rows) == sorted(files)
        assert all(self.user.raw(row).body == files[row["name"]] for row in rows)

    def assert_service_has_none_but(self, files: Mapping[str, bytes]) -> None:
        """Some of these, none of them twice, each byte for byte."""
        self.assert_service_has({row["name"]: files[row["name"]] for row in self.rows()})

    def here(self) -> dict[str, bytes]:
        """What has a final name in the local folder."""
        paths = [path for path in self.local.iterdir() if not path.name.startswith(".minus-")]
        return {path.name: path.read_bytes() for path in paths}

    def assert_here_is_none_but(self, files: Mapping[str, bytes]) -> None:
        found = self.here()
        assert found == {name: files[name] for name in found}

    def assert_here_is(self, files: Mapping[str, bytes]) -> None:
        """Exactly these, and nothing that was left over."""
        assert {path.name: path.read_bytes() for path in self.local.iterdir()} == files


@contextmanager
def open_site(home: Path, program: tuple[str, ...] = ("-m", "minus_server")) -> Iterator[Site]:
    """A service whose links lead through a line."""
    with Line() as line:
        service = Service(home / "data", ("--base-url", line.url), program)
        service.start()
        try:
            line.target = service.port
            service.add_user("faulty", PASSWORD)
            configure(home, service, url=line.url)
            yield Site(service, line, home, Client(service, "faulty", "").limited(ALL))
            sound(service)
            assert service.stop() == 0
            assert "Traceback" not in service.log()
        finally:
            if service.running:
                service.kill()
