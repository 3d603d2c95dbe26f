"""The kill loop of cluster.py, short."""

from pathlib import Path

from tests.cluster import run
from tests.test_deploy import need


def test_a_killed_process_behind_the_proxy_loses_and_doubles_nothing(tmp_path: Path) -> None:
    need("nginx")
    figures = run(tmp_path, files=20, seed=5)
    assert figures.good, figures
    assert (figures.acknowledged, figures.got) == (40, 20)
    assert min(figures.kills) > 0
    assert figures.passed_on > 0  # else no kill was noticed
