"""`kdumpctl propagate`: gives the ssh target a key of ours, with the administrator at the terminal; needs no daemon."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

from kdumpd.cli_files import read_contents
from kdumpd.cli_screen import complain, complain_of, say
from kdumpd.cli_words import FAILED, OK
from kdumpd.core import config, document, propagate, ssh
from kdumpd.core.config import Config
from kdumpd.core.problems import Problem, errors
from kdumpd.core.targets import Ssh
from kdumpd.core.values import DEFAULT_SSH_KEY

VERIFY_SECONDS = 60
"""Of each command that the server is asked; nobody types anything by then."""


class Destination(NamedTuple):
    """Where a dump would go over ssh, and with which key."""

    target: Ssh
    directory: str
    key: str


def run(path: str, *, as_json: bool = False) -> int:
    """0 where the server has the key and a file could be written there; what went wrong is told, with 1."""
    if not as_json:
        return _propagate(path)
    status = FAILED
    with contextlib.redirect_stdout(sys.stderr):  # what is for people, also that of ssh-copy-id
        try:
            status = _propagate(path)
        except OSError as fault:
            complain_of(fault)
    print(json.dumps({"propagated": status == OK}))
    return status


def _propagate(path: str) -> int:
    found = _destination(path)
    if not isinstance(found, Destination):
        for problem in found:
            complain(str(problem))
        return FAILED
    try:
        _make_key(found.key)
        return _give(found)
    except subprocess.CalledProcessError as fault:
        complain(f"{fault.cmd[0]} ended with {fault.returncode}")
    except FileNotFoundError as fault:
        complain(f"{fault.filename} is not installed: install the package openssh-client or openssh-clients")
    return FAILED


def _destination(path: str) -> Destination | Sequence[Problem]:
    contents = read_contents(path)
    if isinstance(contents, Problem):
        return (contents,)
    reading = config.read(document.parse(contents.text), file=path)
    if reading.config is None:
        return errors(reading.problems)
    target = reading.config.target
    if not isinstance(target, Ssh):
        return (
            Problem(code="no-ssh-target", message=f"No ssh config specified in {path}.  Can't propagate"),
        )
    return Destination(target=target, directory=reading.config.path, key=_key(reading.config))


def _key(of: Config) -> str:
    """As the plan chooses it, so that what is propagated is what a capture offers."""
    if of.sshkey == DEFAULT_SSH_KEY or os.path.isfile(of.sshkey):
        return of.sshkey
    complain(f"WARNING: '{of.sshkey}' doesn't exist, using default value '{DEFAULT_SSH_KEY}'")
    return DEFAULT_SSH_KEY


def _make_key(key: str) -> None:
    """Both halves of the key; what is there stays. Raises CalledProcessError and FileNotFoundError."""
    if os.path.isfile(key):
        say("Using existing keys...")
        if not os.path.isfile(f"{key}.pub"):
            half = subprocess.run(propagate.public_half(key), check=True, stdout=subprocess.PIPE).stdout
            with open(f"{key}.pub", "xb") as file:
                file.write(half)
        return
    print("Generating new ssh keys... ", end="", flush=True)
    os.makedirs(os.path.dirname(key), mode=0o700, exist_ok=True)
    subprocess.run(
        propagate.new_key(key, is_fips=_is_fips(), host_name=os.uname().nodename),
        stdout=sys.stdout,
        check=True,
    )
    say("done.")


def _is_fips() -> bool:
    try:
        with open(propagate.FIPS, encoding="ascii") as file:
            return file.read().strip() == "1"
    except OSError:
        return False


def _give(to: Destination) -> int:
    server, user = to.target.host, to.target.user
    copied = subprocess.run(propagate.copy(to.key, to.target.destination), stdout=sys.stdout, check=False)
    if copied.returncode:
        complain(f"Failed to propagate ssh key, could not transfer {to.key} to {server}")
        return FAILED
    say(f"{to.key} has been added to ~{user}/.ssh/authorized_keys on {server}")
    why = _refusal(to)
    if why:
        complain(f"a dump could not be saved to {to.directory} on {server}: {why}")
        return FAILED
    say(f"A file could be written to {to.directory} on {server}")
    return OK


def _refusal(to: Destination) -> str:
    """Why a file cannot be written, renamed and removed on the server as a dump would be; "" where it can."""
    command = propagate.with_key_alone(to.key, to.target.destination)
    make, write, rename, remove = ssh.trial(to.directory, f".kdumpd-{secrets.token_hex(6)}")
    why = _asked(command, make)
    if why:
        return why
    try:
        why = _asked(command, write) or _asked(command, rename)
    finally:
        stays = _asked(command, remove)
    return why or stays


def _asked(command: Sequence[str], what: str) -> str:
    """Why the server did not do `what`, "" where it did."""
    try:
        done = subprocess.run(
            [*command, what],
            input=b"written by kdumpctl propagate\n",
            capture_output=True,
            timeout=VERIFY_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {VERIFY_SECONDS} s"
    said = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit status {done.returncode}"]
    return said[-1] if done.returncode else ""
