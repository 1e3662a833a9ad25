"""curl, the program: a process for the one request, its clock read from what it tells, without connecting.

Its CPU time is the whole process's, some milliseconds for its start among them. Its memory is not told: what the system
counts for a child begins with its parent's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from frame import Job, Unexpected, tell

_FORMAT = "%{response_code} %{size_download} %{time_total} %{time_connect} %{time_appconnect}\\n"


def main() -> None:
    job = Job(**json.loads(sys.argv[1]))
    command = ["curl", "--silent", "--show-error", "--max-time", "60", "--output", "/dev/null", "--write-out", _FORMAT]
    if job.certificate:
        command += ["--cacert", job.certificate]
    if job.operation == "file":
        command += ["--form", f"file=@{job.paths()[0]}", f"{job.url}/"]
        size = 2
    else:
        command.append(f"{job.url}/bytes/{job.size}")
        size = job.size
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    told = process.stdout.read().split()
    _, status, usage = os.wait4(process.pid, 0)
    if status or told[:2] != [b"200", str(size).encode()]:
        raise Unexpected(f"curl: {os.waitstatus_to_exitcode(status)}, {told}")
    total, connected, secured = map(float, told[2:])
    seconds = total - max(connected, secured)
    tell({"seconds": seconds, "cpu": usage.ru_utime + usage.ru_stime, "warmed": 0})


if __name__ == "__main__":
    main()
