"""The wheel and the sdist: built from a clean copy, installed elsewhere, run from elsewhere."""

import ast
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.live import clean_environment

ROOT = Path(__file__).parent.parent


def _run(*args: str, cwd: Path, **extra: str) -> str:
    done = subprocess.run(
        args, cwd=cwd, env=clean_environment(**extra), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a wheel that was made from the sdist, and the sdist."""
    folder = tmp_path_factory.mktemp("package")
    source = folder / "source"
    source.mkdir()
    for name in ("minus.py", "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(
        ROOT / "minus_server", source / "minus_server", ignore=shutil.ignore_patterns("*.pyc")
    )
    _run(sys.executable, "-m", "build", "--outdir", str(folder), str(source), cwd=folder)
    return folder


def test_wheel_and_sdist_carry_every_source_file(built: Path) -> None:
    sources = {str(p.relative_to(ROOT)) for p in (ROOT / "minus_server").rglob("*.py")}
    sources |= {"minus.py", "minus_server/migrations/script.py.mako"}
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        assert sources <= set(wheel.namelist())
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert sources | {"LICENSE", "README.md", "setup.py", "pyproject.toml"} <= names


def test_installed_wheel_runs_outside_of_the_checkout(built: Path, tmp_path: Path) -> None:
    target = tmp_path / "installed"
    wheel = str(next(built.glob("*.whl")))
    pip = (sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target))
    _run(*pip, wheel, cwd=tmp_path)
    paths = {"PYTHONPATH": str(target), "XDG_DATA_HOME": str(tmp_path / "data")}
    paths |= {"XDG_STATE_HOME": str(tmp_path / "state"), "HOME": str(tmp_path)}
    minus, server = str(target / "bin/minus"), str(target / "bin/minus-server")
    try:
        put = _run(minus, "--put", "Stuff", wheel, cwd=tmp_path, **paths)
        assert put == f'--> PUT "{Path(wheel).name}" OK ({Path(wheel).stat().st_size} bytes)\n'
        assert _run(minus, "--list-folders", cwd=tmp_path, **paths) == "Stuff (1 files)\n"
        assert _run(server, "check", cwd=tmp_path, **paths).endswith("\n0 problems\n")
    finally:
        _run(server, "stop", cwd=tmp_path, **paths)


def test_client_imports_nothing_at_its_top_but_the_standard_library() -> None:
    tree = ast.parse((ROOT / "minus.py").read_text())
    names = {
        alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names
    }
    names |= {node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)}
    foreign = {name.partition(".")[0] for name in names} - sys.stdlib_module_names
    assert foreign == set()
