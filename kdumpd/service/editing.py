"""kdump.conf changed by whoever may: only against the text that was seen, whole or not at all, and taken back when it fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from kdumpd.core import config, document
from kdumpd.core.edits import edited
from kdumpd.core.export import Format, exported
from kdumpd.core.problems import Problem, Trouble, errors
from kdumpd.core.settings import SETTINGS
from kdumpd.core.unconfirmed import KEPT, Unconfirmed, left_behind, written
from kdumpd.host.doors import Files
from kdumpd.host.doors import text as text_of
from kdumpd.host.unconfirmed import UnconfirmedFile
from kdumpd.reading import NO_FILE, etag_of
from kdumpd.service.jobs import QUEUED_MOST, Job, Jobs, Kind
from kdumpd.service.reconciler import Reconciler

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

LARGEST_TEXT = 256 * 1024
_CHANGES_KEPT = 2 * QUEUED_MOST
"""Of those that stand on each other before any of them was armed; there are no more than jobs that can wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How a change is to be made. `is_dry` only says what would be wrong."""

    uid: int
    is_dry: bool = False
    acts_at_once: bool = True
    rolls_back: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """`job` makes the change effective; None where there is nothing to do, or nobody wants it at once."""

    etag: str
    job: Job | None = None


class Editing:
    """The one file `path`. Reading may raise OSError; every refusal is Trouble."""

    def __init__(
        self, *, files: Files, path: str, jobs: Jobs, reconciler: Reconciler, memory: UnconfirmedFile
    ) -> None:
        """`memory` outlives us: what is not yet armed when we are killed is taken up by the next start."""
        self.path = path
        self._memory = memory
        self._unconfirmed: dict[str, Unconfirmed] = {}
        """By etag, the oldest first."""
        self._etag_of: dict[int, str] = {}
        """Of the jobs that make them effective, by number."""
        self._ended = asyncio.Event()
        self._files = files
        self._boot_id = text_of(files, "/proc/sys/kernel/random/boot_id")
        self._jobs = jobs
        self._reconciler = reconciler
        self._turn = asyncio.Lock()
        self._ours: set[str] = set()
        self._pending: dict[str, None] = {}
        """Etags of texts that are taken back when they fail: what stands on one can be taken back as well."""
        self._sound: dict[str, None] = {}
        """Etags of texts that had a plan when somebody changed them."""
        self._failed: dict[str, tuple[str, bool]] = {}
        """Etags of texts that were to be taken back when others stood on them already -> what was there before."""

    def text(self) -> tuple[str, str]:
        """The text as it stands now, and its etag."""
        try:
            data = self._files.read_bytes(self.path)
        except FileNotFoundError:
            return "", NO_FILE
        return data.decode("utf-8", "surrogateescape"), etag_of(data)

    def settings(self) -> tuple[Mapping[str, str | tuple[str, ...]], str]:
        """Every directive by name: what the file says, or else its default where it has one; and the etag."""
        text, etag = self.text()
        return settings_of(text), etag

    def exported(self, form: Format) -> str:
        """The text as a program that rebuilds it elsewhere; one with errors is refused."""
        text, _etag = self.text()
        read = document.parse(text)
        wrong = errors(config.read(read, file=self.path).problems)
        if wrong:
            raise Trouble(*wrong)
        return exported(read, form, path=self.path, mode=self._files.stat(self.path).mode or 0o644)

    def is_ours(self, etag: str) -> bool:
        """Whether that text was written by us, rather than by an editor."""
        return etag in self._ours

    async def resume(self) -> None:
        """Before the first look: what an earlier start wrote and did not come to arm is armed now, or taken back."""
        known = await asyncio.to_thread(self._memory.read)
        if not known:
            return
        try:
            _, present = await asyncio.to_thread(self.text)
        except OSError as fault:
            logger.warning("%s cannot be read: %s", self.path, fault)
            return
        record = left_behind(known, present=present, boot_id=self._boot_id)
        if record is None:
            logger.info("%s was changed over D-Bus and not yet armed; it is left as it is", self.path)
            await asyncio.to_thread(self._memory.write, ())
            return

        async def put_back() -> str:
            said = await self._put_back(record.text_before, was_absent=record.was_absent, only_if=record.etag)
            logger.warning("what was changed over D-Bus before this start cannot be armed: %s", said)
            return said

        job = self._jobs.ask(
            Kind.REBUILD,
            reason=f"{self.path} was changed over D-Bus before this start, and not yet armed",
            uid=record.uid,
            undo=put_back,
        )
        self._unconfirmed = {record.etag: record}
        self._etag_of[job.number] = record.etag
        self._pending = {record.etag: None}
        self._remember(record.etag)
        self._reconciler.work_for(job)

    def job_ended(self, job: Job) -> None:
        """What it was begun for is armed, or was taken back, or is another's: nothing is to be remembered of it."""
        etag = self._etag_of.pop(job.number, "")
        if etag and etag not in self._etag_of.values() and self._unconfirmed.pop(etag, None) is not None:
            self._ended.set()
        if not self._etag_of:  # nothing stands on another change any more
            self._failed.clear()
            self._pending.clear()

    async def run(self) -> None:
        """For ever: forget on the disk, too, what has ended."""
        while True:
            await self._ended.wait()
            self._ended.clear()
            async with self._turn:
                await self._save()

    async def _save(self) -> None:
        await asyncio.to_thread(self._memory.write, tuple(self._unconfirmed.values()))

    async def set(self, changes: Mapping[str, Sequence[str]], etag: str, wish: Wish) -> Written:
        """Let each directive stand with these values, none to unset it; every other byte stays."""
        async with self._turn:
            before, seen = await self._seen(etag)
            edit = edited(document.parse(before), changes, file=self.path)
            if edit.document is None:
                raise Trouble(*errors(edit.problems))
            return await self._write(before, edit.document.render(), seen=seen, wish=wish)

    async def set_text(self, text: str, etag: str, wish: Wish) -> Written:
        """Replace the whole text, which has to be without errors."""
        if len(text) > LARGEST_TEXT:
            raise Trouble(
                Problem(code="invalid-config", message=f"the text is longer than {LARGEST_TEXT} characters")
            )
        async with self._turn:
            before, seen = await self._seen(etag)
            wrong = errors(config.read(document.parse(text), file=self.path).problems)
            if wrong:
                raise Trouble(*wrong)
            return await self._write(before, text, seen=seen, wish=wish)

    async def _seen(self, etag: str) -> tuple[str, str]:
        text, present = await asyncio.to_thread(self.text)
        if present != etag:
            raise self._conflict()
        return text, present

    async def _write(self, before: str, after: str, *, seen: str, wish: Wish) -> Written:
        etag = etag_of(_encoded(after))
        if wish.is_dry or (after == before and seen != NO_FILE):
            return Written(etag=etag)
        takes_back = wish.acts_at_once and wish.rolls_back and self._had_a_plan(seen)
        if takes_back:  # before it is written: killed in between, the present text is not the one meant
            self._unconfirmed.pop(etag, None)
            self._unconfirmed[etag] = written(
                etag=etag,
                before=before,
                before_etag=seen,
                was_absent=seen == NO_FILE,
                uid=wish.uid,
                boot_id=self._boot_id,
            )
            while len(self._unconfirmed) > KEPT:
                del self._unconfirmed[next(iter(self._unconfirmed))]
            await self._save()
        try:
            return await self._carry_out(before, after, seen=seen, wish=wish, takes_back=takes_back)
        except (OSError, Trouble):
            if self._unconfirmed.pop(etag, None) is not None:
                self._ended.set()
            raise

    def _had_a_plan(self, etag: str) -> bool:
        """Whether that text could be armed, or stands on one that could and is taken back itself when it fails."""
        sight = self._reconciler.sight
        has_plan = sight.resolution.plan is not None
        if sight.config.etag != etag:  # not looked at yet, as what was put back a moment ago
            return has_plan or etag in self._sound or etag in self._pending
        if has_plan:
            _keep(self._sound, etag, None)
        return has_plan or etag in self._pending

    async def _carry_out(
        self, before: str, after: str, *, seen: str, wish: Wish, takes_back: bool
    ) -> Written:
        etag = etag_of(_encoded(after))
        await asyncio.to_thread(self._replace, after, None if seen == NO_FILE else before)
        self._remember(etag)
        self._failed.pop(etag, None)
        if not wish.acts_at_once:
            self._reconciler.poke(f"{self.path} was changed over D-Bus")
            return Written(etag=etag)

        async def put_back() -> str:
            return await self._put_back(before, was_absent=seen == NO_FILE, only_if=etag)

        job = self._jobs.ask(
            Kind.REBUILD,
            reason=f"{self.path} was changed over D-Bus",
            uid=wish.uid,
            undo=put_back if takes_back else None,
        )
        if job.undo is put_back:  # else somebody's job that waits will do, and that one is its own
            self._etag_of[job.number] = etag
            _keep(self._pending, etag, None)
        self._reconciler.work_for(job)
        return Written(etag=etag, job=job)

    async def _put_back(self, before: str, *, was_absent: bool, only_if: str) -> str:
        async with self._turn:
            now, present = await asyncio.to_thread(self.text)
            if present != only_if:
                _keep(self._failed, only_if, (before, was_absent))
                return f"{self.path} was changed again meanwhile, and is left as it is"
            while not was_absent and (older := self._failed.pop(etag_of(_encoded(before)), None)):
                before, was_absent = older
            if was_absent:
                await asyncio.to_thread(self._files.remove, self.path)
            else:
                try:
                    await asyncio.to_thread(self._replace, before, now)
                except Trouble as conflict:
                    return str(conflict)
                self._remember(etag_of(_encoded(before)))
        self._reconciler.poke(f"{self.path} was put back", urgent=True)
        return f"the previous text of {self.path} was put back"

    def _replace(self, text: str, seen: str | None) -> None:
        """Raises Trouble (Conflict) where somebody's edit came between the look at `seen` and this."""
        facts = self._files.stat(self.path)
        was = None if seen is None else _encoded(seen)
        if not self._files.write_over(self.path, _encoded(text), seen=was, mode=facts.mode or 0o644):
            raise self._conflict()

    def _conflict(self) -> Trouble:
        return Trouble(
            Problem(
                code="conflict",
                message=f"{self.path} was changed by someone else since it was read",
                hint="read it again",
                file=self.path,
            )
        )

    def _remember(self, etag: str) -> None:
        self._ours = {etag} if len(self._ours) >= 64 else {*self._ours, etag}


def _keep(known: dict[str, _T], etag: str, what: _T) -> None:
    """As the newest; the oldest goes where there are too many."""
    known.pop(etag, None)
    known[etag] = what
    if len(known) > _CHANGES_KEPT:
        del known[next(iter(known))]


def settings_of(text: str) -> Mapping[str, str | tuple[str, ...]]:
    """Each directive that is set or has a default; those that may repeat as several texts."""
    read = document.parse(text)
    found: dict[str, str | tuple[str, ...]] = {}
    for name, setting in SETTINGS.items():
        values = tuple(config.printable(value) for value in read.values(name))
        if setting.repeats and values:
            found[name] = values
        elif values or setting.default:
            found[name] = values[0] if values else setting.default
    return found


def changed_keys(before: str, after: str) -> tuple[str, ...]:
    """The directives whose values differ between two texts."""
    old, new = document.parse(before), document.parse(after)
    return tuple(key for key in dict.fromkeys((*old.keys, *new.keys)) if old.values(key) != new.values(key))


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
