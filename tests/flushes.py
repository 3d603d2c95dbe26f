"""Counting what a service flushes to disk."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live import Service


def count_flushes(service: Service, act: Callable[[], object], trace: Path) -> int:
    """Have strace count the calls of fsync and fdatasync while something is done. -> them"""
    if shutil.which("strace") is None:
        pytest.skip("strace is missing: apt install strace")
    command = ["strace", "-f", "-qq", "-e", "trace=fsync,fdatasync", "-o", str(trace)]
    tracer = subprocess.Popen([*command, "-p", str(service.pid)], stderr=subprocess.PIPE, text=True)
    try:
        while not _traced(service.pid):
            assert tracer.poll() is None, tracer.communicate()
        act()
    finally:
        tracer.terminate()
        tracer.communicate(timeout=60)
    return len(re.findall(r"(?m)^\d+ +f(?:data)?sync\(", trace.read_text()))


def _traced(pid: int) -> bool:
    """Whether a tracer has all threads of the process."""
    told = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    return not any(re.search(r"(?m)^TracerPid:\t0$", status) for status in told)
