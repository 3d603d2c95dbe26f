"""`python -m tests`: formatter, linter, type checker, then every test; fails with the first.

The tests of rows, bytes, races and the wire run again on PostgreSQL with a folder, and on
PostgreSQL with an object store. `python -m tests FILE...` runs these files, once.
"""

import os
import subprocess
import sys
from pathlib import Path

CHECKS = (("ruff", "format", "--check", "."), ("ruff", "check", "."), ("mypy",))
PYTEST = ("pytest", "--numprocesses=4", "--dist=loadfile")
ELSEWHERE = ("postgres", "postgres+s3")
AGAIN = ("test_catalog", "test_blobs", "test_concurrency", "test_resumable", "test_wire_*")


def main() -> int:
    """Run each step as a module of this interpreter. -> the first failure's exit status"""
    steps = [*((step, "sqlite") for step in CHECKS), ((*PYTEST, *sys.argv[1:]), "sqlite")]
    if not sys.argv[1:]:
        folder = Path(__file__).parent
        files = [str(path) for name in AGAIN for path in sorted(folder.glob(f"{name}.py"))]
        steps += [((*PYTEST, *files), backend) for backend in ELSEWHERE]
    for step, backend in steps:
        print(f"$ MINUS_TEST_BACKEND={backend}", *step, flush=True)
        environment = os.environ | {"MINUS_TEST_BACKEND": backend}
        if status := subprocess.call([sys.executable, "-m", *step], env=environment):
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
