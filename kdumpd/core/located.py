"""What a dump goes to once it is found on this machine: one value for every kind of target, and the search for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from kdumpd.core.config import Config
from kdumpd.core.environment import MountTry
from kdumpd.core.machine import BlockDevice
from kdumpd.core.needs import Needs, together
from kdumpd.core.network import Way
from kdumpd.core.plan import Written
from kdumpd.core.problems import Problem, Severity
from kdumpd.core.storage import Stack
from kdumpd.core.targets import FITTING_FILESYSTEMS, UNFIT_FILESYSTEMS, TargetKind

KDUMP_CONF = "/etc/kdump.conf"

NO_LAYERS = Stack(layers=())

FILESYSTEMS = FITTING_FILESYSTEMS
"""What a dump is saved to on a disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """A target of any kind, found.

    `name` is what the agent reaches: a lasting name or node of a device, `host:/export`, `user@host`, a tag.
    `directory` is inside the file system, or on the server.
    """

    kind: TargetKind
    name: str
    directory: str = ""
    directory_prefix: str = "127.0.0.1"
    """What the name of a dump directory begins with: who the dump is of, as the one who keeps it knows us."""
    fstype: str = ""
    mount_options: str = ""
    mount_tries: tuple[MountTry, ...] = ()
    """Where it can be mounted in more than one way: each of them, the best first."""
    told: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """For people, D-Bus and JSON; nothing in it is secret."""

    device: BlockDevice | None = None
    stack: Stack = NO_LAYERS
    ways: tuple[Way, ...] = ()
    """How the servers are reached that it lies on; none for what needs no network."""
    ssh_hosts: tuple[str, ...] = ()
    """What ssh is told to connect to, best first: `user@` and a name of the image's ssh_config."""
    modules: tuple[str, ...] = ()
    """Beside those of the stack, the way and the file system."""
    programs: tuple[str, ...] = ()
    """Beside those of the stack and the way."""
    private: tuple[str, ...] = ()
    """Files of the host that come along at the same path, readable by root alone."""
    written: tuple[Written, ...] = ()
    """Files that we write into the overlay."""
    beyond_direct: tuple[Problem, ...] = ()
    """Why engine direct cannot bring it up; empty where it can. Each would be an error if no other engine could."""

    @property
    def needs(self) -> Needs:
        each = [self.stack.needs, Needs(modules=self.modules, programs=self.programs)]
        return together([*each, *(way.needs for way in self.ways)])

    @property
    def words(self) -> str:
        """What lies below, for people."""
        over = " and ".join(way.words for way in self.ways)
        if self.stack.layers:
            return f"{self.stack.words}{f', reached over {over}' if over else ''}"
        return over or self.kind.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    located: Located | None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Where in kdump.conf a problem stands: 0 and "" where no line says it."""

    number: int
    key: str

    def problem(self, code: str, message: str, hint: str = "") -> Problem:
        file = KDUMP_CONF if self.number else ""
        return Problem(code=code, message=message, hint=hint, file=file, line=self.number, key=self.key)

    def warning(self, code: str, message: str, hint: str = "") -> Problem:
        return replace(self.problem(code, message, hint), severity=Severity.WARNING)

    def placed(self, problem: Problem) -> Problem:
        """A problem of something that knows no kdump.conf, told of this line of it."""
        found = self.problem(problem.code, problem.message, problem.hint)
        return replace(found, severity=problem.severity)


def path_line(config: Config, target: Line) -> Line:
    """The line of `path`, or of the target where `path` has its default."""
    return Line(number=config.lines["path"], key="path") if "path" in config.lines else target


def nothing(problem: Problem) -> Search:
    return Search(located=None, problems=(problem,))


def not_yet(kind: str, told: str, line: Line) -> Problem:
    return line.problem(
        "target-not-yet",
        f"this release cannot capture to {kind} yet: {told} cannot be the target",
        "until then use ext4, xfs or btrfs on a local disk",
    )


def unfit(fstype: str, told: str, line: Line) -> Problem:
    """Why no dump can go to a file system of that type."""
    why = UNFIT_FILESYSTEMS.get(fstype)
    if why is None:
        return not_yet(fstype, told, line)
    hint = "use ext4, xfs or btrfs, or a raw partition"
    return line.problem("target-unfit", f"no dump can go to {told}: {why}", hint)
