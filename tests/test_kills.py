"""The kill loop of kills.py, short."""

from pathlib import Path

from tests.kills import run


def test_kills_in_the_middle_of_transfers_lose_nothing_that_was_acknowledged(
    tmp_path: Path,
) -> None:
    figures = run(tmp_path, kills=5, seed=5, clients=2)
    assert figures.good, figures
    assert figures.kills == 5
    assert figures.interrupted, figures  # else no kill has met a transfer
