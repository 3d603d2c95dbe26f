"""`python -m tests`: formatter, linter, type checker, then every test; fails with the first."""

import subprocess
import sys

STEPS = (
    ("ruff", "format", "--check", "."),
    ("ruff", "check", "."),
    ("mypy",),
    ("pytest", "--numprocesses=3", "--dist=loadfile", *sys.argv[1:]),
)


def main() -> int:
    """Run each step as a module of this interpreter. -> the first failure's exit status"""
    for step in STEPS:
        print("$", *step, flush=True)
        if status := subprocess.call([sys.executable, "-m", *step]):
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
