"""Config on the bus: what the administrator wrote, read and changed without losing a comment of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from kdumpd.core import collector, config, document
from kdumpd.core.export import Format
from kdumpd.core.problems import Problem, Trouble, errors
from kdumpd.core.target_test import required
from kdumpd.reading import ConfigText
from kdumpd.service.bus import BusError, Caller, Description, ErrorName, Interface, Value, clean
from kdumpd.service.editing import LARGEST_TEXT, Editing, Wish, Written, changed_keys
from kdumpd.service.inhibiting import Inhibiting
from kdumpd.service.interfaces import Options, job_path
from kdumpd.service.options import require_known
from kdumpd.service.propagating import Propagating
from kdumpd.service.proving import Proving
from kdumpd.service.reconciler import Reconciler

DIAGNOSTICS_AT_MOST = 256
LINES_AT_MOST = 8192
"""Each takes 300 bytes while it is read, even an empty one."""
VALIDATIONS_AT_ONCE = 8
"""Texts of strangers that are kept while one of them is read: reading one takes a second of processor at worst."""

_COMPRESSIONS = {"-c": "zlib", "-l": "lzo", "-p": "snappy", "-z": "zstd"}


class ConfigInterface(Interface):
    """kdump.conf. Properties are those of the last look; methods read the file as it stands."""

    def __init__(
        self,
        description: Description,
        *,
        editing: Editing,
        reconciler: Reconciler,
        proving: Proving,
        propagating: Propagating,
        inhibiting: Inhibiting,
    ) -> None:
        super().__init__(description)
        self._editing = editing
        self._reconciler = reconciler
        self._proving = proving
        self._propagating = propagating
        self._inhibiting = inhibiting
        self._last: ConfigText | None = None
        self._validating = asyncio.Lock()
        self._to_validate = 0

    def properties(self) -> Mapping[str, Value]:
        sight = self._reconciler.sight
        plan, read = sight.resolution.plan, sight.config.config
        argv = read.core_collector if read is not None else ()
        problems = {
            *sight.config.problems,
            *(p for p in sight.resolution.problems if p.file == sight.config.path),
        }
        return {
            "Path": sight.config.path,
            "Format": "kdump.conf",
            "Etag": sight.config.etag,
            "Valid": sight.config.config is not None,
            "Target": dict(plan.target) if plan is not None else {},
            "CoreCollector": " ".join(argv),
            "Compression": _compression(argv),
            "Diagnostics": diagnostics(problems),
        }

    def authorisation_details(self, member: str, arguments: tuple[Value, ...]) -> Mapping[str, str]:
        """Of the target that would be tested, where another is named, or else of the configured one."""
        plan = self._reconciler.sight.resolution.plan
        target: Mapping[str, Value] = plan.target if plan is not None else {}
        if member == "TestTarget" and isinstance(arguments[0], Mapping) and arguments[0]:
            target = arguments[0]
        return {
            "target.type": clean(str(target.get("type", ""))),
            "target.host": clean(str(target.get("server", ""))),
        }

    def require_admissible(self, _caller: Caller, member: str, arguments: tuple[Value, ...]) -> None:
        if member == "TestTarget" and isinstance(arguments[0], Mapping) and arguments[0]:
            _required(arguments[0])

    def tell_change(self) -> None:
        """Emit Changed where the text of the last look is another than before."""
        now, before = self._reconciler.sight.config, self._last
        self._last = now
        if before is None or before.etag == now.etag:
            return
        origin = "bus" if self._editing.is_ours(now.etag) else "file"
        self.emit("Changed", now.etag, tuple(map(clean, changed_keys(before.text, now.text))), origin)

    async def get(self, _caller: Caller, options: Options) -> tuple[Value, ...]:
        require_known(options)
        settings, etag = await asyncio.to_thread(self._editing.settings)
        return dict(settings), etag

    async def get_text(self, _caller: Caller, options: Options) -> tuple[Value, ...]:
        require_known(options)
        text, etag = await asyncio.to_thread(self._editing.text)
        return text, etag

    async def validate(self, _caller: Caller, text: str, options: Options) -> tuple[Value, ...]:
        require_known(options)
        _require_short(text)
        if self._to_validate >= VALIDATIONS_AT_ONCE:
            raise BusError(ErrorName.LIMITS_EXCEEDED, "Other texts are being read; ask again.")
        self._to_validate += 1
        try:
            async with self._validating:  # one thread of the few: ours need the others
                problems = await asyncio.to_thread(
                    lambda: config.read(document.parse(text), file=self._editing.path).problems
                )
        finally:
            self._to_validate -= 1
        return not errors(problems), diagnostics(problems)

    async def set(
        self, caller: Caller, changes: Mapping[str, Value], etag: str, options: Options
    ) -> tuple[Value, ...]:
        wish = await self._wish(caller, options)
        asked = {key: _values(key, value) for key, value in changes.items()}
        return _answer(await self._editing.set(asked, etag, wish))

    async def set_text(self, caller: Caller, text: str, etag: str, options: Options) -> tuple[Value, ...]:
        wish = await self._wish(caller, options)
        _require_short(text)
        return _answer(await self._editing.set_text(text, etag, wish))

    async def export(self, _caller: Caller, form: str, options: Options) -> str:
        require_known(options)
        if form not in set(Format):
            raise BusError(ErrorName.INVALID_ARGS, f"The format is one of {', '.join(Format)}.")
        return await asyncio.to_thread(self._editing.exported, Format(form))

    async def test_target(self, caller: Caller, target: Mapping[str, Value], options: Options) -> str:
        require_known(options)
        return job_path(self._proving.ask(_required(target) if target else {}, uid=await caller.uid()))

    async def propagate(self, caller: Caller, options: Options) -> str:
        require_known(options, password=str, host_key=str)
        password, host_key = str(options.get("password", "")), str(options.get("host-key", ""))
        uid = await caller.uid()
        return job_path(
            self._propagating.ask(self._reconciler.sight, password=password, host_key=host_key, uid=uid)
        )

    async def _wish(self, caller: Caller, options: Options) -> Wish:
        require_known(options, dry_run=bool, rebuild=bool, rollback_on_failure=bool)
        wish = Wish(
            uid=await caller.uid(),
            is_dry=bool(options.get("dry-run", False)),
            acts_at_once=bool(options.get("rebuild", True)),
            rolls_back=bool(options.get("rollback-on-failure", True)),
        )
        if wish.acts_at_once and not wish.is_dry:
            self._inhibiting.require_none()
        return wish


def diagnostics(problems: set[Problem] | tuple[Problem, ...]) -> tuple[tuple[int, str, str, str, str], ...]:
    """Line, severity, code, key and sentence of each, in order of lines; of very many, the first."""
    first = sorted(problems, key=lambda each: (each.line, each.code, each.message))[:DIAGNOSTICS_AT_MOST]
    return tuple(
        (
            each.line,
            str(each.severity),
            each.code,
            each.key,
            f"{each.message} ({each.hint})" if each.hint else each.message,
        )
        for each in first
    )


def _values(key: str, value: Value) -> tuple[str, ...]:
    """One text, or several for a directive that repeats; an empty one unsets."""
    texts = value if isinstance(value, tuple) else (value,)
    found = tuple(text for text in texts if isinstance(text, str))
    if len(found) != len(texts):
        raise BusError(ErrorName.INVALID_ARGS, f"The value of {key!r} is to be text, or an array of texts.")
    return tuple(text for text in found if text)


def _required(target: Mapping[str, Value]) -> Mapping[str, str]:
    texts = {key: value for key, value in target.items() if isinstance(value, str)}
    if len(texts) != len(target):
        raise BusError(ErrorName.INVALID_ARGS, "Every value of the target is text.")
    try:
        return required(texts)
    except Trouble as trouble:
        raise BusError(ErrorName.INVALID_ARGS, f"{trouble}.") from trouble


def _answer(written: Written) -> tuple[Value, ...]:
    return written.etag, job_path(written.job)


def _require_short(text: str) -> None:
    if len(text) > LARGEST_TEXT or text.count("\n") > LINES_AT_MOST:
        most = f"{LARGEST_TEXT} characters or {LINES_AT_MOST} lines"
        raise BusError(ErrorName.LIMITS_EXCEEDED, f"The text is longer than {most}.")


def _compression(argv: tuple[str, ...]) -> str:
    if not collector.is_makedumpfile(argv):
        return "none"
    names = [each.name for each in collector.options(argv) if not isinstance(each, str)]
    return next((_COMPRESSIONS[name] for name in names if name in _COMPRESSIONS), "none")
