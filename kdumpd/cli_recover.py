"""`kdumpctl dumps recover`: a flattened stream, as makedumpfile -F writes it, into a vmcore; needs no daemon."""

from __future__ import annotations

import json
import os

from kdumpd.cli_screen import complain, say
from kdumpd.core.flattened import lay_out
from kdumpd.core.problems import Trouble


def run(stream: str, core: str, *, as_json: bool = False) -> int:
    """0 where `core` is whole and on the disk; else 1, one line said, and no file `core`. Never writes over one."""
    beside = f"{core}-incomplete"
    if os.path.lexists(core):
        complain(f"{core} exists already")
        return 1
    try:
        descriptor = os.open(
            beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        with open(descriptor, "wb") as file:
            try:
                with open(stream, "rb") as source:
                    reader = lay_out(source, file)
                file.flush()
                os.fsync(file.fileno())
                os.rename(beside, core)
            except BaseException:
                os.unlink(beside)
                raise
    except Trouble as trouble:
        complain(f"{stream}: {trouble.problems[0].message}")
        return 1
    if as_json:
        print(json.dumps({"core": core, "bytes": reader.size_bytes}, indent=2))
    else:
        say(f"{core}: {reader.size_bytes} bytes")
    return 0
