"""Python's own library and real pictures, up and down again by the real command."""

import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.live import Service, clean_environment

ROOT = Path(__file__).parent.parent
STDLIB = Path(sysconfig.get_path("stdlib"))
PICTURES = sorted(STDLIB.glob("idlelib/Icons/*.png")) + sorted(STDLIB.glob("idlelib/Icons/*.gif"))


def _minus(env: dict[str, str], cwd: Path, *args: str) -> str:
    """Run the command and see that all went well. -> standard output"""
    command = [sys.executable, str(ROOT / "minus.py"), *args]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def _there_and_back(env: dict[str, str], folder: Path) -> None:
    """Put the files, list them, get them, and compare every byte."""
    modules = sorted(STDLIB.glob("*.py"))
    assert len(modules) > 150
    assert len(PICTURES) > 8
    for name, files in (("Library", modules), ("Pictures", PICTURES)):
        printed = _minus(env, folder, "--put", name, *map(str, files))
        sizes = {file.name: file.stat().st_size for file in files}
        assert printed == "".join(f'--> PUT "{n}" OK ({size} bytes)\n' for n, size in sizes.items())
        target = folder / name
        target.mkdir()
        assert _minus(env, target, "--get", name) == printed.replace("PUT", "GET")
        assert {p.name: p.read_bytes() for p in target.iterdir()} == {
            file.name: file.read_bytes() for file in files
        }
    listed = _minus(env, folder, "--list-folders")
    assert listed == f"Library ({len(modules)} files)\nPictures ({len(PICTURES)} files)\n"


def _environment(folder: Path, **extra: str) -> dict[str, str]:
    places = {f"XDG_{name}_HOME": str(folder / name) for name in ("DATA", "STATE", "CONFIG")}
    return clean_environment(HOME=str(folder), **places, **extra)


def test_library_and_pictures_come_back_from_a_served_folder(
    service: Service, tmp_path: Path
) -> None:
    service.add_user("librarian", "shelf mark")
    account = {"MINUS_USERNAME": "librarian", "MINUS_PASSWORD": "shelf mark"}
    key = {"MINUS_API_KEY": service.api_key, "MINUS_API_SECRET": service.api_secret}
    _there_and_back(_environment(tmp_path, MINUS_URL=service.url, **account, **key), tmp_path)


def test_library_and_pictures_come_back_from_the_embedded_service(tmp_path: Path) -> None:
    try:
        _there_and_back(_environment(tmp_path), tmp_path)
    finally:
        stop = [
            sys.executable,
            "-m",
            "minus_server",
            "stop",
            "--data",
            str(tmp_path / "DATA/minus"),
        ]
        subprocess.run(stop, cwd=ROOT, check=True, capture_output=True)
