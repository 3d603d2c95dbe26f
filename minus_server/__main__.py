"""`python -m minus_server` is the command `minus-server`."""

import sys

from minus_server.cli import main

if __name__ == "__main__":
    sys.exit(main())
