"""Runs inside the guest: takes the steps of the JSON file named by its argument and says each in the kernel's log.

What is said there is on the console and in a dump before any panic that follows. Beside the steps a thread tells
what kdumpd's records say is armed, or is being loaded, as often as that changes:

    unrest: step 7: write /etc/kdump.conf renamed: path /var/crash/elm
    unrest: armed "/var/crash/elm"
    unrest: loading "/var/crash/dune"
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

RECORDS = ("/run/kdumpd/armed", "/run/kdumpd/loading")
EVERY = 0.02  # seconds between two looks at the records
KMSG = os.open("/dev/kmsg", os.O_WRONLY | os.O_CLOEXEC)


def say(text: str) -> None:
    line = "".join(each if each.isprintable() else "|" if each == "\n" else "?" for each in text)
    os.write(KMSG, f"<5>unrest: {line[:400]}\n".encode("ascii", "replace"))


def directory_of(record: str) -> str:
    """As JSON, so that it can be read back from the log; "" where there is no such record."""
    try:
        return json.dumps(json.loads(Path(record).read_bytes())["description"]["target"]["directory"])
    except (OSError, ValueError, KeyError):
        return ""


def watch() -> None:
    seen: dict[str, tuple[int, int]] = {}
    while True:
        for record in RECORDS:
            try:
                stat = os.stat(record)
                now = (stat.st_ino, stat.st_mtime_ns)
            except OSError:
                now = (0, 0)
            if seen.get(record) != now:
                seen[record] = now
                say(f"{record.rpartition('/')[2]} {directory_of(record)}".rstrip())
        time.sleep(EVERY)


def write(step: dict[str, str], mode: int) -> None:
    data = step["text"].encode("latin-1")
    os.makedirs(os.path.dirname(step["file"]), exist_ok=True)
    beside = f"{step['file']}.beside" if step["way"] == "renamed" else step["file"]
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.chmod(beside, mode)
    except OSError:
        # As an editor does where a disk is full: what was there stays.
        if step["way"] == "renamed":
            with contextlib.suppress(OSError):
                os.unlink(beside)
        raise
    if step["way"] == "renamed":
        os.rename(beside, step["file"])


def fill(path: str) -> None:
    """Takes all that is left, to the last block that root may have."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        piece = 1 << 30
        while piece >= 4096:
            try:
                os.posix_fallocate(descriptor, os.fstat(descriptor).st_size, piece)
            except OSError as problem:
                if problem.errno != errno.ENOSPC:
                    raise
                piece >>= 1
    finally:
        os.close(descriptor)
    left = os.statvfs(os.path.dirname(path))
    say(f"  {left.f_bfree * left.f_bsize >> 10} KiB are left")


def take(step: dict[str, str], *, mode: int, argv: list[str], running: list[subprocess.Popen[bytes]]) -> None:
    match step["do"]:
        case "write":
            write(step, mode)
        case "append":
            with open(step["file"], "a", encoding="ascii") as file:
                file.write(step["text"])
        case "remove" | "free":
            os.unlink(step["file"])
        case "chmod":
            os.chmod(step["file"], mode)
        case "fill":
            fill(step["file"])
        case "start":
            running[:] = [program for program in running if program.poll() is None]
            quiet = subprocess.DEVNULL
            running.append(subprocess.Popen(argv, stdin=quiet, stdout=quiet, stderr=quiet))
        case unknown:
            raise ValueError(unknown)


def main() -> None:
    steps = json.loads(Path(sys.argv[1]).read_text())
    threading.Thread(target=watch, daemon=True).start()
    running: list[subprocess.Popen[bytes]] = []
    say("begins")
    for number, step in enumerate(steps, 1):
        time.sleep(step["pause"])
        argv = step.get("argv", [])
        words = [step.get("file", ""), step.get("way", ""), " ".join(argv), step.get("text", "")]
        say(f"step {number}: {' '.join(word for word in (step['do'], *words) if word)}")
        try:
            take(step, mode=step.get("mode", 0), argv=argv, running=running)
        except OSError as problem:
            say(f"  step {number} was refused: {problem.strerror}")
    say("ends")


main()
