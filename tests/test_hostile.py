"""The kit of hostile services: that it does what it says, and that others can use it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.attacks import ATTACKS
from tests.hostile.kit import DATA, Kit
from tests.hostile.trial import MINUS, attempt, commands, table
from tests.rawhttp import call as http


def test_the_kit_is_served_and_lists_its_attacks() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.hostile"],
        cwd=MINUS.parent,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        url = process.stdout.readline().split()[3]
        port = int(url.rstrip("/").rpartition(":")[2])
        shown = http(port, "GET", "/").body.decode()
        assert http(port, "GET", "/honest/data.bin").body == DATA
        process.terminate()
    assert process.returncode == 0
    assert all(f"/{attack.name}/" in shown for attack in ATTACKS)


def test_the_kit_needs_the_standard_library_alone() -> None:
    code = "import tests.hostile.__main__, tests.hostile.trial"
    subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, '.'); {code}"],
        cwd=MINUS.parent,
        check=True,
    )


@pytest.mark.parametrize(
    ("attack", "verdict"),
    [("honest", "safe (0)"), ("wrong-bytes", "safe (10)"), ("redirect-loop", "safe (1)")],
)
def test_minus_is_tried(attack: str, verdict: str, tmp_path: Path) -> None:
    by_name = {attack.name: attack for attack in ATTACKS}
    with Kit(ATTACKS) as kit:
        assert str(attempt(kit, "minus", by_name[attack], tmp_path, 60)) == verdict


@pytest.mark.parametrize(
    ("script", "verdict"),
    [
        ("echo x > ../climbed; false", "**wrote outside** (1)"),
        ("echo x > data.bin", "**kept wrong bytes as whole** (0)"),
        ("echo x > data.bin; false", "left wrong bytes under the name (1)"),
        ("echo x > .bashrc", "**the service chose .bashrc**"),
        ("head -c 70000000 /dev/zero > data.bin", "**filled the disk**"),
        (r"printf '\033]0;x\007'; false", "**drove the terminal** (1)"),
        ("sleep 60", "**hangs**"),
        ("true", "**got nothing, says done** (0)"),
    ],
)
def test_a_bad_client_is_found_out(
    script: str, verdict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.hostile.trial.commands", lambda *_: [["/bin/sh", "-c", script]])
    with Kit(ATTACKS) as kit:
        found = str(attempt(kit, "sh", ATTACKS[0], tmp_path, 2 if "sleep" in script else 60))
    assert found.startswith(verdict)


def test_what_goes_astray_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Kit(ATTACKS) as kit:
        code = f"import urllib.request as u; u.urlopen(u.Request({kit.elsewhere!r}, b'mine', "
        code += "{'Authorization': 'x', 'Cookie': 'x'})); raise SystemExit(1)"
        script = [[sys.executable, "-c", code]]
        monkeypatch.setattr("tests.hostile.trial.commands", lambda *_: script)
        found = str(attempt(kit, "python", ATTACKS[0], tmp_path, 60))
    astray = "**sent the password elsewhere**, **sent the file elsewhere**, "
    assert found == f"{astray}sent the cookie elsewhere (1)"


def test_the_table_has_a_row_for_each_attack_and_a_column_for_each_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tests.hostile.trial.CLIENTS", ("minus",))
    lines = table(["honest", "cut"], 60).splitlines()
    assert lines[2:] == [
        "| attack | minus |",
        "| --- | --- |",
        "| Nothing: the file, as it is. | safe (0) |",
        "| Half of the file without Content-Length, then the end. | safe (10) |",
    ]


def test_where_a_client_cannot_be_asked_it_is_not_tried() -> None:
    by_name = {attack.name: attack for attack in ATTACKS}
    assert commands("curl", by_name["json-deep"], "http://127.0.0.1:1/") == []
