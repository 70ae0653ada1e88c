"""kdumpctl reserve, and what kdump-utils called it: which crashkernel= this machine should have, and setting it."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Mapping

from kdumpd.cli_bus import QUICKLY, finished, said_of, text_of, why_not
from kdumpd.cli_screen import complain, say
from kdumpd.cli_words import FAILED, OK
from kdumpd.core import reserve, usual
from kdumpd.core.problems import Trouble
from kdumpd.service.bus import BusError, Client, Connection, ErrorName, Value
from kdumpd.service.permissions import BUS_NAME, JOB, KERNEL, MANAGER, ROOT

LINES_AT_ONCE = 1000
LOGIND = "org.freedesktop.login1"
NOT_INTERACTIVE = False
_WRONG_KERNEL = "Invalid --kernel={}, please specify a valid kernel path, ALL or DEFAULT"
REBOOT = "WARNING: Please reboot the system for the change to take effect."


def run(asked: argparse.Namespace) -> int:
    """0, or 1 where it was not done."""
    match asked.verb:
        case "get-default-crashkernel":
            default = asyncio.run(_default(asked.bus, mode=asked.mode))
            print(_as_json(default) if asked.json else default, end="\n" if asked.json else "")
            return OK
        case "reserve" if asked.action == "get-default":
            default = asyncio.run(_default(asked.bus, mode="kdump"))
            print(_as_json(default) if asked.json else default)
            return OK
        case "reserve":
            refusal = _no_kernel(asked.kernel)
            if not all(
                map(str.strip, asked.values)
            ):  # as of a variable that is not set: nobody meant what is recommended
                refusal = "the value of crashkernel= is empty"
            if refusal:
                complain(refusal)
                return FAILED
            return _with_bus(
                asked.bus,
                value=" ".join(asked.values),
                kernel=asked.kernel or "",
                is_dry=asked.dry_run,
                as_json=asked.json,
            )
        case _:
            refusal = _refusal(asked.fadump) or _no_kernel(asked.kernel)
            if refusal:
                complain(refusal)
                return FAILED
            return _with_bus(
                asked.bus,
                value="",
                kernel=asked.kernel or "",
                is_reset=True,
                reboots=asked.reboot,
                as_json=asked.json,
            )


def _as_json(crashkernel: str) -> str:
    return json.dumps({"crashkernel": crashkernel}, indent=2)


async def _default(address: str, *, mode: str) -> str:
    """What kdumpd recommends by today's plan; where it does not say, what distributions reserve on such a machine."""
    here = os.uname()
    if mode == "fadump" and here.machine in usual.WITH_FADUMP:
        return reserve.render(usual.with_fadump())
    try:
        async with asyncio.timeout(QUICKLY), Connection(address) as connection:
            client = Client(connection, BUS_NAME)
            if await client.is_running():
                (found,) = await client.call(ROOT, MANAGER, "Estimate", "a{sv}", {})
                if isinstance(found, Mapping) and found["crashkernel"]:
                    return text_of(found["crashkernel"])
    except (BusError, Trouble, TimeoutError):
        pass  # no bus, no plan or no answer: the table needs none of them
    return reserve.render(usual.usual(here.machine, release=here.release))


def _refusal(fadump: str) -> str:
    """Why --fadump is not done, "" where it was not asked for."""
    if not fadump:
        return ""
    if not os.uname().machine.startswith("ppc64"):
        return "Option --fadump only valid on PPC"
    return "kdumpd does not arm firmware-assisted dumps, and leaves fadump= as it is"


def _no_kernel(kernel: str | None) -> str:
    """Of a --kernel that names none: in the words of kdump-utils."""
    return _WRONG_KERNEL.format("") if kernel == "" else ""


def _with_bus(
    address: str,
    *,
    value: str,
    kernel: str,
    is_dry: bool = False,
    is_reset: bool = False,
    reboots: bool = False,
    as_json: bool = False,
) -> int:
    async def attempt() -> int:
        async with Connection(address) as connection:
            client = Client(connection, BUS_NAME)
            of_kernel = kernel or (await _capturing(client) if is_reset else "ALL")
            status, is_changed = await _set(client, value, kernel=of_kernel, is_dry=is_dry, as_json=as_json)
            if is_changed and reboots:
                return await _reboot(connection)
            if is_changed:
                complain(REBOOT)
            return status

    try:
        return asyncio.run(attempt())
    except (BusError, Trouble) as fault:
        is_kernel = isinstance(fault, BusError) and fault.name == ErrorName.KERNEL_NOT_FOUND
        complain(_WRONG_KERNEL.format(kernel) if is_kernel else said_of(fault))
        return FAILED


async def _reboot(connection: Connection) -> int:
    try:
        await Client(connection, LOGIND).call(
            "/org/freedesktop/login1", f"{LOGIND}.Manager", "Reboot", "b", NOT_INTERACTIVE
        )
    except BusError as fault:
        complain(f"the system was not rebooted: {fault.text}")
        complain(REBOOT)
        return FAILED
    return OK


async def _capturing(client: Client) -> str:
    """The image of the kernel that captures, which is the running one unless KDUMP_KERNELVER names another."""
    path = text_of(await client.get(ROOT, MANAGER, "Kernel"))
    image = text_of(await client.get(path, KERNEL, "Image")) if path not in {"", "/"} else ""
    return image or "ALL"


async def _set(client: Client, value: str, *, kernel: str, is_dry: bool, as_json: bool) -> tuple[int, bool]:
    """The exit status, and whether boot entries were changed. What is to be done is shown before it is."""
    shown, is_fine = await _job(client, value, {"dry-run": True, "kernel": kernel})
    if not as_json:
        say("\n".join(shown))
    is_needed = any(line.startswith("would ") for line in shown)
    if not is_fine or is_dry or not is_needed:
        if as_json:
            print(json.dumps({"changed": False, "needed": is_needed, "log": shown}, indent=2))
        return (OK if is_fine else FAILED), False
    said, is_fine = await _job(client, value, {"kernel": kernel})
    news = [line for line in said if line not in shown and not line.startswith(("writes ", "runs "))]
    if as_json:
        print(json.dumps({"changed": is_fine, "needed": True, "log": said}, indent=2))
    else:
        say("\n".join(news))
    return (OK if is_fine else FAILED), is_fine


async def _job(client: Client, value: str, options: Mapping[str, Value]) -> tuple[tuple[str, ...], bool]:
    """The lines of its log, and whether it went well; what went wrong is complained of."""
    (path,) = await client.call(ROOT, MANAGER, "SetCrashkernel", "sa{sv}", value, options)
    fault = why_not(await finished(client, path))
    lines, _, _ = await client.call(text_of(path), JOB, "GetLog", "tua{sv}", 0, LINES_AT_ONCE, {})
    if fault:
        complain(fault)
    return (tuple(map(text_of, lines)) if isinstance(lines, tuple) else ()), not fault
