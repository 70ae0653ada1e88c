"""kdumpctl's work on a named file, with no daemon: check a kdump.conf, and read or change its directives losslessly."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

from kdumpd.cli_words import FAILED, OK
from kdumpd.core import config, document
from kdumpd.core.edits import edited, unknown_directive
from kdumpd.core.problems import Problem, errors, warnings

LARGEST_FILE_BYTES = 1024 * 1024
"""A kdump.conf has a few kilobytes; this is so that a wrong path does not fill the memory."""


class Outcome(NamedTuple):
    """An exit status, and the text to print; the text ends without a line feed."""

    status: int
    output: str


class Contents(NamedTuple):
    """A file's text. Bytes that are not UTF-8 stand in it as lone surrogates, so that they can be written back."""

    text: str
    existed: bool


def check(text: str, *, file: str, as_json: bool = False) -> Outcome:
    """`kdumpctl check`: 0 where the text is valid, warnings or not; 1 where one problem is an error."""
    return _told(config.read(document.parse(text), file=file).problems, file=file, as_json=as_json)


def check_file(path: str, *, as_json: bool = False) -> Outcome:
    """As `check`, of a file or the input; one that cannot be read is a problem like any other."""
    contents = read_input(path)
    if isinstance(contents, Problem):
        return _told((contents,), file=path, as_json=as_json)
    return check(contents.text, file=path, as_json=as_json)


def get_directive(path: str, key: str, *, as_json: bool = False) -> Outcome:
    """`kdumpctl config get`: the values as written, a line each; 1 and nothing to print where it is not set."""
    contents = read_contents(path)
    if isinstance(contents, Problem):
        return _told((contents,), file=path, as_json=as_json)
    values = document.parse(contents.text).values(key)
    unknown = unknown_directive(key)
    if not values and unknown:
        return _told((unknown,), file=path, as_json=as_json)
    if as_json:
        return Outcome(OK if values else FAILED, json.dumps({key: values}, indent=2))
    return Outcome(OK if values else FAILED, "\n".join(config.printable(value) for value in values))


def set_directive(path: str, key: str, values: Sequence[str], *, as_json: bool = False) -> Outcome:
    """`kdumpctl config set`: the file is written once, whole or not at all; an unchanged one is not written.

    A file that does not exist yet is made. Warnings about the new value are in the output of a success too.
    """
    return _changed(path, key, tuple(values) or ("",), may_be_new=True, as_json=as_json)


def unset_directive(path: str, key: str, *, as_json: bool = False) -> Outcome:
    """`kdumpctl config unset`: without the lines that set the directive; 0 also where there was none."""
    return _changed(path, key, (), may_be_new=False, as_json=as_json)


def read_contents(path: str, *, may_be_new: bool = False) -> Contents | Problem:
    """The text of a regular file or a pipe, or why it cannot be had."""
    try:
        with open(path, "rb", opener=_opened_without_waiting) as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISFIFO(mode):
                what = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
                return _unreadable(path, f"this is {what}")
            os.set_blocking(file.fileno(), True)
            found = file.read(LARGEST_FILE_BYTES + 1)
    except FileNotFoundError:
        return Contents("", existed=False) if may_be_new else _unreadable(path, "the file does not exist")
    except (OSError, ValueError) as fault:
        return _unreadable(path, f"the file cannot be read: {_reason(fault)}")
    return _contents(path, found)


def read_input(path: str) -> Contents | Problem:
    """As `read_contents`, and of the standard input where it is called `-`."""
    if path != "-":
        return read_contents(path)
    if not sys.stdin.readable():
        return _unreadable(path, "the standard input is closed")
    found = sys.stdin.buffer.read(LARGEST_FILE_BYTES + 1)
    return _contents(path, found)


def write_text(path: str, text: str) -> Problem | None:
    """The file holds `text` afterwards, whole or not at all; one that does already is not written."""
    before = read_contents(path, may_be_new=True)
    if isinstance(before, Problem):
        return before
    return None if before.existed and before.text == text else replaced(path, text, before=before)


def _changed(path: str, key: str, values: tuple[str, ...], *, may_be_new: bool, as_json: bool) -> Outcome:
    contents = read_contents(path, may_be_new=may_be_new)
    if isinstance(contents, Problem):
        return _told((contents,), file=path, as_json=as_json)
    before = document.parse(contents.text)
    if not values and not before.values(key) and (unknown := unknown_directive(key)):
        return _told((unknown,), file=path, as_json=as_json)
    edit = edited(before, {key: values}, file=path)
    if edit.document is None:
        return _told(edit.problems, file=path, as_json=as_json)
    after = edit.document.render()
    if after != contents.text:
        fault = replaced(path, after, before=contents)
        if fault is not None:
            return _told((fault,), file=path, as_json=as_json)
    if as_json:
        return _told(edit.problems, file=path, as_json=True)
    return Outcome(OK, "\n".join(sentence(problem) for problem in edit.problems))


def replaced(path: str, text: str, *, before: Contents) -> Problem | None:
    """Write beside, with the same mode and owner, and rename: whoever reads meets the old file or the new one."""
    place = os.path.realpath(path)
    folder = os.path.dirname(place)
    beside = ""
    try:
        if before.existed and not stat.S_ISREG(os.stat(place).st_mode):
            return _unreadable(path, "this is not a regular file")
        descriptor, beside = tempfile.mkstemp(prefix=f".{os.path.basename(place)}.", dir=folder)
        with open(descriptor, "wb") as file:
            file.write(text.encode(errors="surrogateescape"))
            _take_after(file.fileno(), place, existed=before.existed)
            file.flush()
            os.fsync(file.fileno())
        if read_contents(path, may_be_new=not before.existed) != before:
            return Problem(
                code="changed-meanwhile",
                message="the file was changed by someone else",
                hint="try again",
                file=path,
            )
        os.rename(beside, place)
        beside = ""
        _sync_folder(folder)
    except OSError as fault:
        return Problem(
            code="file-not-written", message=f"the file cannot be written: {_reason(fault)}", file=path
        )
    finally:
        if beside:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(beside)
    return None


def _take_after(descriptor: int, place: str, *, existed: bool) -> None:
    """Mode, owner and extended attributes (SELinux labels, ACLs) of the file that is to be replaced."""
    if not existed:
        os.fchmod(descriptor, 0o644)
        return
    old = os.stat(place)
    new = os.fstat(descriptor)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))
    with contextlib.suppress(OSError):  # not every file system has them, and not everyone may set them
        for name in os.listxattr(place):
            os.setxattr(descriptor, name, os.getxattr(place, name))


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _opened_without_waiting(path: str, flags: int) -> int:
    """So that a device or a FIFO with nobody at its other end does not hold us up."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)


def _told(problems: Sequence[Problem], *, file: str, as_json: bool = False) -> Outcome:
    status = FAILED if errors(problems) else OK
    if as_json:
        listed = [
            {
                "line": problem.line,
                "severity": problem.severity.value,
                "code": problem.code,
                "key": problem.key,
                "message": problem.message,
                "hint": problem.hint,
            }
            for problem in problems
        ]
        return Outcome(status, json.dumps(listed, indent=2))
    sentences = [sentence(problem) for problem in problems]
    shown = config.printable(file)
    if status == OK:
        doubts = len(warnings(problems))
        sentences.append(
            f"{shown}: valid" + (f", {doubts} warning{'s' if doubts > 1 else ''}" if doubts else "")
        )
    return Outcome(status, "\n".join(sentences))


def sentence(problem: Problem) -> str:
    where = config.printable(problem.file) + (f":{problem.line}" if problem.line else "")
    hint = f" ({problem.hint})" if problem.hint else ""
    return f"{where + ': ' if where else ''}{problem.severity.value}: {problem.message}{hint}"


def _contents(path: str, found: bytes) -> Contents | Problem:
    if len(found) > LARGEST_FILE_BYTES:
        return _unreadable(path, f"this is larger than {LARGEST_FILE_BYTES} bytes")
    return Contents(found.decode(errors="surrogateescape"), existed=True)


def _unreadable(path: str, message: str) -> Problem:
    return Problem(code="unreadable-file", message=message, file=path)


def _reason(fault: OSError | ValueError) -> str:
    return (fault.strerror or str(fault)) if isinstance(fault, OSError) else str(fault)
