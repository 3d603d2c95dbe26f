"""Faults between the real command and the real service, on their disks and in their clocks.

Whatever happens: what was acknowledged is there, nothing half or wrong has a final name on
either side, the exit status and a line say so, and the next run succeeds.
"""

import itertools
import resource
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.faults import (
    Fault,
    clock_of,
    disk_of_its_own,
    locked,
    noise,
    with_clock,
    without_privileges,
)
from tests.live import Service
from tests.rawhttp import ALL, MULTIPART, error_of, multipart, new_user, part
from tests.shell_helpers import PATIENCE, Done
from tests.sites import Site, open_site
from tests.test_durability import sound

SMALL = {f"{number}.bin": noise(number, 9_000) for number in range(12)}
LARGE = {"large.bin": noise(1, 12 << 20)}  # above what goes in one piece
STREAM = {"stream.bin": noise(2, 3 << 20)}
KINDS = {"small files": SMALL, "a large file": LARGE}
HASTY = ("-c", "import minus; minus.READ_SECONDS = 1; minus.run()")  # waits for a second alone
HASTY_SERVICE = (
    "-c",
    "import minus_server.databases; minus_server.databases.BUSY_SECONDS = 0.2;"
    " from minus_server.cli import run; run()",
)
counter = itertools.count()
WEEK = 7 * 24 * 3600


def size(files: Mapping[str, bytes]) -> int:
    return sum(map(len, files.values()))


@pytest.fixture(scope="module")
def site_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_site(tmp_path_factory.mktemp("faults")) as site:
        yield site


@pytest.fixture
def site(site_of_all: Site, tmp_path: Path) -> Iterator[Site]:
    """The same, for one test: a good line, a new folder's name, an empty folder here.

    What a test has injected must have happened.
    """
    site_of_all.line.mend()
    site_of_all.folder = f"F{next(counter)}"
    site_of_all.local = tmp_path / "local"
    site_of_all.local.mkdir()
    yield site_of_all
    site_of_all.line.mend()
    site_of_all.line.hang_up()
    assert site_of_all.line.happened == site_of_all.line.injected


def assert_told(done: Done, *statuses: int) -> None:
    """The status is one of these, and standard error says why, in lines without a traceback."""
    assert done.status in statuses, done
    assert done.err.strip(), done


# --- the line ---

OF_KINDS = pytest.mark.parametrize("files", KINDS.values(), ids=KINDS)
BROKEN = pytest.mark.parametrize(
    ("kind", "files"),
    [("reset", SMALL), *((kind, LARGE) for kind in ("cut", "reset", "truncate"))],
    ids=["reset-small", "cut-large", "reset-large", "truncate-large"],
)


def at_half(kind: str, files: Mapping[str, bytes], side: str, stays: bool = False) -> Fault:
    return Fault(kind, side, size(files) // 2, stays=stays)


@BROKEN
def test_a_put_that_the_line_breaks_goes_on_by_itself(
    site: Site, kind: str, files: dict[str, bytes]
) -> None:
    site.line.inject(at_half(kind, files, "up"))
    done = site.put(files)
    assert (done.status, done.err) == (0, "")
    site.assert_service_has(files)


@BROKEN
def test_a_get_that_the_line_breaks_goes_on_by_itself(
    site: Site, kind: str, files: dict[str, bytes]
) -> None:
    assert site.put(files).status == 0
    site.line.inject(at_half(kind, files, "down"))
    done = site.get()
    assert (done.status, done.err) == (0, "")
    site.assert_here_is(files)


@OF_KINDS
def test_a_put_whose_line_stays_broken_is_told_and_leaves_nothing_half(
    site: Site, files: dict[str, bytes]
) -> None:
    site.line.inject(at_half("reset", files, "up", stays=True))
    assert_told(site.put(files), 5)
    site.assert_service_has_none_but({})
    site.line.mend()
    assert site.put(files, "--on-conflict", "skip").status == 0
    site.assert_service_has(files)


@OF_KINDS
def test_a_get_whose_line_stays_broken_is_told_and_leaves_nothing_half(
    site: Site, files: dict[str, bytes]
) -> None:
    assert site.put(files).status == 0
    site.line.inject(at_half("reset", files, "down", stays=True))
    assert_told(site.get(), 5, 11)
    site.assert_here_is_none_but(files)
    site.line.mend()
    assert site.get().status == 0
    site.assert_here_is(files)


@OF_KINDS
def test_an_upload_whose_answer_is_lost_is_there_once(site: Site, files: dict[str, bytes]) -> None:
    site.line.inject(Fault("reset", "down", once=size(files)))
    done = site.put(files)
    assert (done.status, done.err) == (0, "")
    site.assert_service_has(files)


@OF_KINDS
def test_an_upload_whose_bytes_change_on_the_way_is_refused(
    site: Site, files: dict[str, bytes]
) -> None:
    site.line.inject(at_half("corrupt", files, "up"))
    done = site.put(files)
    assert done.status in (0, 10), done
    site.assert_service_has(files if done.status == 0 else {})
    assert site.put(files, "--on-conflict", "skip").status == 0
    site.assert_service_has(files)


@OF_KINDS
def test_a_download_whose_bytes_change_on_the_way_is_refused(
    site: Site, files: dict[str, bytes]
) -> None:
    assert site.put(files).status == 0
    old = dict.fromkeys(files, b"old")
    for name, data in old.items():
        (site.local / name).write_bytes(data)
    site.line.inject(at_half("corrupt", files, "down"))
    done = site.get("--on-conflict", "overwrite")
    assert done.status in (0, 10, 11), done
    now = site.here()
    assert all(now[name] in (files[name], old[name]) for name in files)
    assert (now == files) == (done.status == 0)
    assert site.get("--on-conflict", "overwrite").status == 0
    site.assert_here_is(files)


@OF_KINDS
def test_a_put_into_a_line_that_stalls_ends_with_the_timeout(
    site: Site, files: dict[str, bytes]
) -> None:
    site.line.inject(at_half("stall", files, "up"))
    done = site.put(files, program=HASTY)
    assert done.status == 0 or (done.status == 5 and done.err), done
    site.assert_service_has(files if done.status == 0 else {})
    site.line.mend()
    assert site.put(files, "--on-conflict", "skip").status == 0
    site.assert_service_has(files)


@OF_KINDS
def test_a_get_from_a_line_that_stalls_ends_with_the_timeout(
    site: Site, files: dict[str, bytes]
) -> None:
    assert site.put(files).status == 0
    site.line.inject(at_half("stall", files, "down"))
    done = site.get(program=HASTY)
    assert done.status == 0 or (done.status in (5, 11) and done.err), done
    site.assert_here_is_none_but(files)
    site.line.mend()
    assert site.get().status == 0
    site.assert_here_is(files)


def test_a_line_that_drops_a_byte_gives_nobody_wrong_bytes(site: Site) -> None:
    site.line.inject(at_half("drop", LARGE, "up"))
    done = site.put(LARGE, program=HASTY)
    site.assert_service_has(LARGE if done.status == 0 else {})
    site.line.mend()
    assert site.put(LARGE, "--on-conflict", "skip").status == 0
    site.line.inject(at_half("drop", LARGE, "down"))
    done = site.get(program=HASTY)
    assert site.here() == (LARGE if done.status == 0 else {})
    site.line.mend()
    assert site.get().status == 0
    site.assert_here_is(LARGE)


def test_a_late_line_changes_nothing(site: Site) -> None:
    site.line.inject(Fault("delay"))
    assert site.put(SMALL | STREAM).status == 0
    assert site.get().status == 0
    site.assert_here_is(SMALL | STREAM)


def test_a_stream_that_the_line_breaks_goes_on_or_leaves_nothing(site: Site) -> None:
    data = STREAM["stream.bin"]
    typed = b"cd %s\nput - stream.bin\n" % site.new_folder().encode()
    site.line.inject(at_half("reset", STREAM, "up", stays=True))
    assert_told(site.run(stdin=typed + data), 11)
    site.assert_service_has({})
    site.line.inject(at_half("reset", STREAM, "up"))
    assert site.run(stdin=typed + data).status == 0
    site.assert_service_has(STREAM)


COMMANDS = noise(4, 9 << 20) + b"\n!touch ran\n" * 100_000


def assert_not_run(site: Site, done: Done) -> None:
    assert done.status in (2, 11), done
    assert len(done.err.splitlines()) < 3, done.err
    assert site.here() == {}
    site.assert_service_has({})


def test_what_is_left_of_a_stream_that_the_line_breaks_is_no_command(site: Site) -> None:
    typed = f"cd {site.new_folder()}\nput - stream.bin\n".encode()
    site.line.inject(Fault("reset", "up", 1000, stays=True))
    assert_not_run(site, site.run(stdin=typed + COMMANDS))


@pytest.mark.parametrize(
    "typed", ["cd Elsewhere\nput - name", 'cd Elsewhere\nput "-" name', "cd {}\nput - two names"]
)
def test_what_is_left_of_a_stream_that_has_no_place_is_no_command(site: Site, typed: str) -> None:
    typed = typed.format(site.new_folder())
    assert_not_run(site, site.run(stdin=f"{typed}\n".encode() + COMMANDS))


def test_a_file_for_a_command_is_told_when_the_line_breaks_it(site: Site) -> None:
    assert site.put(STREAM).status == 0
    typed = f"cd {site.folder}\nget stream.bin |cat >copy\n".encode()
    for kind, status in (("reset", 5), ("corrupt", 10)):
        site.line.inject(at_half(kind, STREAM, "down", stays=True))
        assert_told(site.run(stdin=typed), status, 11)
        site.line.mend()
    assert site.run(stdin=typed).status == 0
    site.assert_here_is({"copy": STREAM["stream.bin"]})


def test_a_share_that_the_line_breaks_gives_no_link(site: Site) -> None:
    files = site.given(LARGE)
    site.line.inject(at_half("reset", LARGE, "up", stays=True))
    done = site.run("--share", *files)
    assert_told(done, 5)
    assert done.out == ""
    site.line.mend()
    done = site.run("--share", *files)
    assert (done.status, done.err) == (0, "")
    gallery = done.out.strip().removeprefix(f"{site.line.url}m")
    (row,) = site.user.get(f"folders/{gallery}/files")["results"]
    assert site.user.raw(row).body == LARGE["large.bin"]


# --- processes that are killed ---


@pytest.mark.parametrize("who", ["client", "service"])
def test_a_kill_in_the_middle_of_a_put_leaves_nothing_half(site: Site, who: str) -> None:
    site.line.inject(at_half("stall", LARGE, "up", stays=True))
    with site.spawn("--put", site.folder, *site.given(LARGE)) as process:
        site.line.fell.wait(PATIENCE)
        if who == "client":
            process.kill()
        else:
            site.service.kill()
        site.line.mend()
        if who == "service":
            _, err = process.communicate(timeout=PATIENCE)
            assert (process.returncode, b"Traceback" in err) == (5, False), err
    if who == "service":
        site.start()
    site.assert_service_has({})
    assert site.put(LARGE, "--on-conflict", "skip").status == 0
    site.assert_service_has(LARGE)
    sound(site.service)


@pytest.mark.parametrize("who", ["client", "service"])
def test_a_kill_in_the_middle_of_a_get_leaves_nothing_half(site: Site, who: str) -> None:
    assert site.put(LARGE).status == 0
    site.line.inject(at_half("stall", LARGE, "down", stays=True))
    with site.spawn("--get", site.folder) as process:
        site.line.fell.wait(PATIENCE)
        if who == "client":
            process.kill()
        else:
            site.service.kill()
        site.line.mend()
        if who == "service":
            _, err = process.communicate(timeout=PATIENCE)
            assert (process.returncode, b"Traceback" in err) == (5, False), err
    if who == "service":
        site.start()
    assert site.here() == {}
    assert site.get().status == 0
    site.assert_here_is(LARGE)


# --- no room, no rights ---


def test_a_full_disk_here_is_told_and_keeps_what_was_there(site: Site) -> None:
    assert site.put(LARGE | SMALL).status == 0
    site.local = site.local / "disk"
    site.local.mkdir()
    with disk_of_its_own(site.local, "8m") as mounted:
        limit = () if mounted else ("prlimit", f"--fsize={8 << 20}")
        done = site.get(before=limit)
        assert_told(done, 11)
        assert "large.bin" in done.err
        assert site.here() == SMALL
        assert_told(site.get("--on-conflict", "overwrite", before=limit), 11)
        assert site.here() == SMALL
        assert site.run("--get", site.folder, "large.bin", before=limit).status == 7
        if mounted:
            resize = ["/bin/mount", "-o", "remount,size=64m", str(site.local)]
            subprocess.run(resize, check=True)
        assert site.get().status == 0
        site.assert_here_is(LARGE | SMALL)


def test_a_folder_that_cannot_be_written_is_told(site: Site) -> None:
    assert site.put(LARGE | SMALL).status == 0
    site.local.chmod(0o500)
    done = site.get(before=tuple(without_privileges()))
    assert_told(done, 1)
    assert done.err.count("Permission denied") == len(LARGE | SMALL)
    assert site.here() == {}
    site.local.chmod(0o700)
    assert site.get().status == 0
    site.assert_here_is(LARGE | SMALL)


def test_a_folder_for_tokens_that_cannot_be_written_stops_nothing(site: Site) -> None:
    state = site.home / "unwritable"
    state.mkdir(mode=0o500)
    done = site.put(SMALL | LARGE, before=("env", f"XDG_STATE_HOME={state}", *without_privileges()))
    assert (done.status, done.err) == (0, "")
    site.assert_service_has(SMALL | LARGE)
    assert list(state.iterdir()) == []


def test_a_service_whose_disk_is_full_is_told_and_loses_nothing(site: Site) -> None:
    assert site.put(SMALL).status == 0
    pid = site.service.pid
    _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1 << 20, most))
    done = site.put(LARGE)
    assert_told(done, 7)
    assert "disk is full" in done.err
    site.assert_service_has(SMALL)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))
    assert site.put(LARGE).status == 0
    site.assert_service_has(LARGE | SMALL)


# --- the catalog, clocks ---


@pytest.mark.alone
def test_a_catalog_that_is_locked_is_told_as_busy_and_loses_nothing(tmp_path: Path) -> None:
    with open_site(tmp_path, HASTY_SERVICE) as site:
        site.folder, site.local = "Stuff", tmp_path / "local"
        site.local.mkdir()
        assert site.put(SMALL).status == 0
        with locked(site.service.data / "catalog.sqlite3"):
            assert site.get().status == 0  # reading goes on
            done = site.put(STREAM)
            assert_told(done, 5)
            assert "busy" in done.err
        site.assert_here_is(SMALL)
        site.assert_service_has(SMALL)
        assert site.put(STREAM).status == 0
        site.assert_service_has(SMALL | STREAM)


@pytest.mark.alone
@pytest.mark.parametrize("way", ["form", "bare"])
def test_a_large_upload_at_a_locked_catalog_reads_the_answer(tmp_path: Path, way: str) -> None:
    service = Service(tmp_path / "data", program=HASTY_SERVICE)
    service.start()
    alice = new_user(service)
    path, data = f"folders/{alice.folder()['id']}/files", bytes(40 << 20)
    with locked(service.data / "catalog.sqlite3"):
        if way == "form":
            kind = {"Content-Type": MULTIPART}
            body = multipart(part("file", data, "a"))
            answer = alice.call("POST", path, alice.bearer() | kind, body)
        else:
            answer = alice.call("PUT", f"{path}/a", alice.bearer(), data)
    assert error_of(answer) == (503, "temporarily_unavailable")
    assert service.stop() == 0


@pytest.mark.parametrize("jump", [-WEEK, 200 * WEEK])
def test_a_clock_that_jumps_here_costs_nothing(site: Site, tmp_path: Path, jump: int) -> None:
    clock = clock_of(tmp_path)
    program = with_clock(clock, "minus", "minus.main()")
    assert site.put(SMALL, program=program).status == 0
    clock.write_text(str(jump))
    assert site.put(LARGE, program=program).status == 0
    assert site.get(program=program).status == 0
    clock.write_text("0")
    site.assert_here_is(SMALL | LARGE)
    assert site.get().status == 0


def test_a_clock_that_jumps_at_the_service_costs_nothing(tmp_path: Path) -> None:
    clock = clock_of(tmp_path)
    program = with_clock(clock, "minus_server.cli", "minus_server.cli.run()")
    with open_site(tmp_path, program) as site:
        site.folder, site.local = "Stuff", tmp_path / "local"
        site.local.mkdir()
        have: dict[str, bytes] = {}
        for number, jump in enumerate((0, -WEEK, 200 * WEEK, 0)):
            clock.write_text(str(jump))
            more = {f"{number}.bin": noise(number, 100_000)}
            done = site.put(more)
            assert (done.status, done.err) == (0, "")
            have |= more
            assert site.get().status == 0
            site.assert_here_is(have)
        site.user = site.user.limited(ALL)
        site.assert_service_has(have)
