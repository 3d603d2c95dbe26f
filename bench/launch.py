"""Runs one command and tells what it took: `python -I launch.py RESULT COMMAND...`

A process of its own, because a child's peak memory begins with that of the process which started
it: this one has 10 MiB, the benchmark more than some contestants. RESULT gets JSON: `seconds` of
wall time, `cpu` seconds (user and system, of its children too), `peak` bytes, exit `status`.
"""

import json
import os
import sys
import time


def main(result: str, command: list[str]) -> None:
    """Run `command` with this process's streams, folder and environment."""
    began = time.perf_counter()
    pid = os.posix_spawnp(command[0], command, os.environ)
    _, status, used = os.wait4(pid, 0)
    seconds = time.perf_counter() - began
    took = {
        "seconds": seconds,
        "cpu": used.ru_utime + used.ru_stime,
        "peak": used.ru_maxrss * 1024,
        "status": os.waitstatus_to_exitcode(status),
    }
    with open(result, "w", encoding="utf-8") as file:
        json.dump(took, file)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
