"""What an operator sees: how a service ends, whether it is well, its figures, its log."""

from pathlib import Path

from tests.live import Service


def test_a_process_that_has_served_leaves_without_pythons_finalization(tmp_path: Path) -> None:
    code = "import atexit, sys; atexit.register(print, 'finalized', file=sys.stderr)"
    service = Service(
        tmp_path / "data", program=("-c", f"{code}; from minus_server.cli import run; run()")
    )
    service.start()
    assert service.stop() == 0
    assert service.log() == ""
