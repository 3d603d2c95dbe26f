"""`python -m tests.hostile PORT` serves the kit; `--try` lets the clients here meet it."""

import argparse
import signal
import sys

from tests.hostile.attacks import ATTACKS
from tests.hostile.kit import Kit


def main() -> int:
    """Serve until Ctrl-C, or try. -> exit status"""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("port", nargs="?", type=int, default=0, metavar="PORT")
    parser.add_argument("--try", dest="clients", action="store_true", help="print the table")
    options = parser.parse_args()
    if options.clients:
        from tests.hostile.trial import table

        print(table())
        return 0
    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # for the threads too
    with Kit(ATTACKS, options.port) as kit:
        print(f"Hostile services at {kit.url} (Ctrl-C ends them)", flush=True)
        signal.sigwait(ends)
    return 0


if __name__ == "__main__":
    sys.exit(main())
