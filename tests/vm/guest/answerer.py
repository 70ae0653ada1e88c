"""Runs inside the guest: takes one JSON object a line from a virtio-serial port, answers each with one.

Requests carry an `id` that the answer repeats:
    {"id": 1, "hello": true}                                     -> {"id": 1, "boot": "<boot id>"}
    {"id": 2, "run": ["argv"], "stdin": "<base64>"}              -> {"id": 2, "status": 0, "stdout": "...", "stderr": "..."}
    {"id": 3, "put": "/path", "data": "<base64>", "offset": 0, "mode": 420} -> {"id": 3, "size": 12}
    {"id": 4, "get": "/path", "offset": 0, "length": 65536}      -> {"id": 4, "data": "<base64>", "size": 12}
What cannot be done is answered with {"id": n, "failed": "why"}.  On start-up the boot id is announced unasked.
"""

from __future__ import annotations

import base64
import json
import os
import pathlib
import subprocess
import sys
import threading
from typing import Any

PORT = "/dev/virtio-ports/org.kdumpd.test"

Answer = dict[str, Any]


def boot_id() -> str:
    return pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def run(request: Answer) -> Answer:
    done = subprocess.run(
        request["run"],
        input=base64.b64decode(request.get("stdin", "")),
        capture_output=True,
        check=False,
        cwd="/",
    )
    return {
        "status": done.returncode,
        "stdout": base64.b64encode(done.stdout).decode(),
        "stderr": base64.b64encode(done.stderr).decode(),
    }


def put(request: Answer) -> Answer:
    data = base64.b64decode(request["data"])
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if request["offset"] == 0 else 0)
    descriptor = os.open(request["put"], flags, request["mode"])
    try:
        os.fchmod(descriptor, request["mode"])
        os.lseek(descriptor, request["offset"], os.SEEK_SET)
        with os.fdopen(descriptor, "wb", closefd=False) as stream:
            stream.write(data)
        return {"size": os.fstat(descriptor).st_size}
    finally:
        os.close(descriptor)


def get(request: Answer) -> Answer:
    with pathlib.Path(request["get"]).open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(request["offset"])
        data = stream.read(request["length"])
    return {"data": base64.b64encode(data).decode(), "size": size}


def answer_to(request: Answer) -> Answer:
    try:
        if "run" in request:
            return run(request)
        if "put" in request:
            return put(request)
        if "get" in request:
            return get(request)
    except (OSError, ValueError, KeyError) as problem:
        return {"failed": f"{type(problem).__name__}: {problem}"}
    return {"boot": boot_id()}


def send_all(port: int, data: bytes) -> None:
    while data:
        data = data[os.write(port, data) :]


def serve(port: int) -> None:
    lock = threading.Lock()

    def say(answer: Answer) -> None:
        with lock:
            send_all(port, json.dumps(answer).encode() + b"\n")

    def serve_one(request: Answer) -> None:
        say({"id": request["id"], **answer_to(request)})

    say({"id": 0, "boot": boot_id()})
    # The port may be opened once only, so one descriptor serves both ways; reads are buffered, or each
    # byte would be a system call.
    with os.fdopen(port, "rb", buffering=1 << 16, closefd=False) as lines:
        for line in lines:
            try:
                request = json.loads(line)
            except ValueError:
                continue  # the rest of a line that a crash cut in two
            # A thread for each request: a command that hangs must not silence the agent.
            threading.Thread(target=serve_one, args=(request,), daemon=True).start()


def main() -> int:
    serve(os.open(PORT, os.O_RDWR | os.O_CLOEXEC))
    return 1  # the port never ends while the machine runs: let systemd start us again


if __name__ == "__main__":
    sys.exit(main())
