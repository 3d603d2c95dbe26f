"""`python -m minus_server` is the command `minus-server`."""

from minus_server.cli import run

if __name__ == "__main__":
    run()
