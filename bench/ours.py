"""The contestant: the real `minus` and a real `minus-server serve`, as a user has them."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.measure import BenchError
from bench.peers import running

_REPOSITORY = Path(__file__).parent.parent
_SOURCES = ("minus.py", "minus_server", "setup.py", "pyproject.toml", "README.md", "LICENSE")
_PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class Minus:
    """A service that runs, and the commands for it."""

    pid: int
    command: list[str]
    server_command: list[str]
    folder: Path
    env: dict[str, str]

    def account(self, name: str) -> dict[str, str]:
        """Make an account and an API key, sign in once. -> environment with the token kept"""
        home = self.folder / name
        home.mkdir()
        self.operate("adduser", name, stdin=f"{_PASSWORD}\n")
        config = home / "minus.conf"
        config.touch(0o600)
        config.write_text(f"{self.operate('addclient', name)}username: {name}\n")
        env = {**self.env, "MINUS_CONFIG": str(config), "XDG_STATE_HOME": str(home / "state")}
        self.run(["--list-folders"], home, {**env, "MINUS_PASSWORD": _PASSWORD})
        return env

    @property
    def plain(self) -> list[str]:
        """The command as it is with a service that knows API v2 alone."""
        python = Path(self.command[0]).with_name("python")
        code = "import minus; minus.MinusConnection.extensions = lambda _: {}; minus.run()"
        return [str(python), "-c", code]

    def operate(self, *args: str, stdin: str = "") -> str:
        """Run `minus-server ARGS --data DATA`. -> what it prints"""
        command = [*self.server_command, *args, "--data", str(self.folder / "data")]
        return _output(command, self.folder, self.env, stdin)

    def run(self, args: Sequence[str], cwd: Path, env: Mapping[str, str], stdin: str = "") -> str:
        """Run `minus ARGS` outside of any measured time. -> what it prints"""
        return _output([*self.command, *args], cwd, env, stdin)


def _output(command: list[str], cwd: Path, env: Mapping[str, str], stdin: str = "") -> str:
    done = subprocess.run(
        command, cwd=cwd, env=env, input=stdin, capture_output=True, text=True, check=False
    )
    if done.returncode:
        shown = " ".join(command)[:200]
        raise BenchError(f"exit status {done.returncode}: {shown}\n{done.stderr[-2000:]}")
    return done.stdout


def install(folder: Path, env: Mapping[str, str]) -> Path:
    """Install this repository with its extra [server] as the README says. -> the commands' folder

    From a copy, because building leaves files behind.
    """
    copy, venv = folder / "source", folder / "venv"
    copy.mkdir(parents=True)
    for name in _SOURCES:
        source = _REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    _output([sys.executable, "-m", "venv", str(venv)], copy, env)
    _output([str(venv / "bin" / "pip"), "install", "-q", ".[server]"], copy, env)
    return venv / "bin"


@contextmanager
def serving(
    folder: Path, command: list[str], server_command: list[str], env: dict[str, str]
) -> Iterator[Minus]:
    """A service on a data folder of its own below `folder`, which must not be there yet."""
    folder.mkdir()
    log = folder / "service" / "log"

    def ready() -> None:
        if not re.search(r"^Minus service at http", log.read_text(), re.M):
            raise BenchError("it has not said its address yet")

    serve = [*server_command, "serve", "--data", str(folder / "data"), "--port", "0"]
    with running(serve, log.parent, {**env, "PYTHONUNBUFFERED": "1"}, ready) as pid:
        yield Minus(pid, command, server_command, folder, env)
