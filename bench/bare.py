"""A bare socket -> file copy, the least that any transfer of a file takes.

python -m bench.bare send FILE         prints its port, then sends FILE to whoever connects
python -m bench.bare receive PORT OUT  writes what comes to OUT
"""

import os
import socket
import sys

_BLOCK = 1 << 20


def send(path: str) -> None:
    """Serve connections one after the other, with sendfile, until killed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        while True:
            connection, _ = server.accept()
            with connection, open(path, "rb") as file:
                done, size = 0, os.fstat(file.fileno()).st_size
                while done < size:
                    done += os.sendfile(connection.fileno(), file.fileno(), done, size - done)


def receive(port: int, path: str) -> None:
    """Write one connection's bytes to a file."""
    block = memoryview(bytearray(_BLOCK))
    with (
        socket.create_connection(("127.0.0.1", port)) as connection,
        open(path, "wb", buffering=0) as file,
    ):
        while count := connection.recv_into(block):
            file.write(block[:count])


if __name__ == "__main__":
    if sys.argv[1] == "send":
        send(sys.argv[2])
    else:
        receive(int(sys.argv[2]), sys.argv[3])
