"""Every row of the table of resume.py, for our column; and that the table can tell."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import PATIENCE
from tests.live import clean_environment
from tests.resume import CASES, NAME, NEW, Case, Ours, Outcome, ours, resume, slow_down


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ours]:
    with ours(tmp_path_factory.mktemp("resume") / "ours") as peer:
        yield peer


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.about)
def test_resuming_gives_the_right_file_or_says_that_it_is_not(
    mine: Ours, case: Case, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    found = resume(mine, case, here)
    # what is a part of ours goes on or is fetched anew; what has the name stays, if it does not fit
    assert found == (Outcome("right", 0) if case.left is None else Outcome("untouched", 8))
    with mine.start(here, "--on-conflict", "overwrite") as process:
        assert process.communicate(timeout=PATIENCE)[1] == b""
    assert process.returncode == 0
    assert {path.name: path.read_bytes() for path in here.iterdir()} == {NAME: NEW}


class Curl(Ours):
    """`curl -C -` on the same service."""

    def start(self, folder: Path, *more: str, slowly: bool = False) -> "subprocess.Popen[bytes]":
        slow_down(self.site.line, slowly)
        line = f"curl -sS -C - -o {NAME} {self.site.line.url}i{self.file}"
        return subprocess.Popen(line.split(), cwd=folder, env=clean_environment())


def test_the_table_tells_wrong_bytes_that_are_said_to_be_right(mine: Ours, tmp_path: Path) -> None:
    curl = Curl(mine.site, file=mine.file)
    assert resume(curl, CASES[0], tmp_path / "right") == Outcome("right", 0)
    stale = resume(curl, CASES[2], tmp_path / "wrong")
    assert (stale, str(stale)) == (Outcome("wrong", 0), "**wrong, 0**")
    mine.file = curl.file
