"""What the introspection files say to people: each member with its comment, its arguments and its errors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from inspect import cleandoc
from xml.etree import ElementTree as ET

from kdumpd.service.bus.description import Emits, describe
from kdumpd.service.bus.errors import ErrorName
from kdumpd.service.desk import INTERFACES
from kdumpd.service.permissions import BUS_NAME, Action, file_of
from tests.service.private_bus import DATA

NO_ERRORS = "none of its own"
_NEEDS = re.compile(r"\bNeeds\s+(org\.kdumpd\.Kdump1\.[\w-]+)")
_ERROR = f"{BUS_NAME}.Error."


class Kind(StrEnum):
    METHOD = "method"
    SIGNAL = "signal"
    PROPERTY = "property"


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """`text` is empty where the comment does not explain it."""

    name: str
    signature: str
    text: str
    is_result: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """`text` is in paragraphs; `errors` None where the comment does not say which a method has of its own."""

    interface: str
    name: str
    kind: Kind
    text: tuple[str, ...]
    arguments: tuple[Argument, ...] = ()
    errors: tuple[ErrorName, ...] | None = None
    action: Action | None = None
    signature: str = ""
    emits: Emits = Emits.VALUE
    is_writable: bool = False

    @property
    def prototype(self) -> str:
        """What a revision promises of it: nothing but this may be relied on by a program."""
        match self.kind:
            case Kind.PROPERTY:
                access = "readwrite" if self.is_writable else "read"
                return f"{self.interface}.{self.name} {self.kind} {self.signature} {access} {self.emits}"
            case Kind.SIGNAL:
                return f"{self.interface}.{self.name} {self.kind} ({_listed(self.arguments)})"
            case Kind.METHOD:
                takes = _listed(one for one in self.arguments if not one.is_result)
                gives = _listed(one for one in self.arguments if one.is_result)
                return f"{self.interface}.{self.name} {self.kind} ({takes}) -> ({gives})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """One interface."""

    name: str
    title: str
    text: tuple[str, ...]
    details: tuple[str, ...]
    """What polkit is told beside the action, by key."""
    members: tuple[Member, ...]

    @property
    def short(self) -> str:
        return self.name.rpartition(".")[2]

    def of(self, kind: Kind) -> tuple[Member, ...]:
        return tuple(member for member in self.members if member.kind is kind)


def faces() -> tuple[Face, ...]:
    return tuple(face((DATA / file_of(name)).read_text(encoding="utf-8")) for name in INTERFACES)


def members() -> Mapping[tuple[str, str], Member]:
    return {(each.name, member.name): member for each in faces() for member in each.members}


def face(text: str) -> Face:
    """A packaged introspection file. Raises ValueError where a comment cannot be understood."""
    root = ET.fromstring(text, ET.XMLParser(target=ET.TreeBuilder(insert_comments=True)))  # noqa: S314 - ours
    described = describe(text)
    (interface,) = root.findall("interface")
    (own,) = [_Comment(of) for of in _comments_before(root, interface)]
    title = own.arguments.pop("short_description", "")
    details = next((line for line in own.lines if line.startswith("Polkit details: ")), "")
    paragraphs = _paragraphs(line for line in own.lines if line != details)
    found = []
    for element in interface:
        if element.tag in set(Kind):
            comment = next(iter(_comments_before(interface, element)), "")
            emits = (
                described.properties[element.get("name", "")].emits
                if element.tag == Kind.PROPERTY
                else Emits.VALUE
            )
            found.append(_member(described.name, element, _Comment(comment), emits))
    return Face(
        name=described.name,
        title=title,
        text=paragraphs,
        details=tuple(details.removeprefix("Polkit details: ").rstrip(".").split(", ")) if details else (),
        members=tuple(found),
    )


class _Comment:
    """As gdbus-codegen reads them: the name, `@argument:` lines that may go on below, and text."""

    def __init__(self, text: str) -> None:
        lines = cleandoc(text).splitlines()
        self.name, _, rest = lines[0].strip().partition(":") if lines else ("", "", "")
        self.arguments: dict[str, str] = {}
        self.lines = [rest.strip()] if rest.strip() else []
        into = "" if not self.lines else "text"
        for line in lines[1:]:
            if found := re.fullmatch(r"@(\w+):\s*(.*)", line):
                into = found[1]
                self.arguments[into] = found[2]
            elif into not in {"", "text"} and line.startswith(" "):
                self.arguments[into] += f" {line.strip()}"
            else:
                into = "text"
                self.lines.append(line.strip())


def _comments_before(parent: ET.Element, element: ET.Element) -> list[str]:
    """The comment that stands right before it, where one does."""
    place = list(parent).index(element)
    before = parent[place - 1] if place else None
    return [before.text or ""] if before is not None and before.tag is ET.Comment else []  # type: ignore[comparison-overlap]  # a comment's tag is this function


def _member(interface: str, element: ET.Element, comment: _Comment, emits: Emits) -> Member:
    name = element.get("name", "")
    if comment.name not in {"", name}:
        raise ValueError(f"the comment before {interface}.{name} is of {comment.name}")
    explained = dict(comment.arguments)
    arguments = tuple(
        Argument(
            name=each.get("name", ""),
            signature=each.get("type", ""),
            text=explained.pop(each.get("name", ""), ""),
            is_result=each.get("direction") == "out",
        )
        for each in element.findall("arg")
    )
    if explained:
        raise ValueError(f"{interface}.{name} has no arguments {', '.join(explained)}")
    paragraphs = _paragraphs(comment.lines)
    needed = _NEEDS.search(" ".join(paragraphs))
    return Member(
        interface=interface,
        name=name,
        kind=Kind(str(element.tag)),
        text=tuple(each for each in paragraphs if not each.startswith("Errors: ")),
        arguments=arguments,
        errors=_errors(paragraphs),
        action=Action(needed[1]) if needed else None,
        signature=element.get("type", ""),
        emits=emits,
        is_writable="write" in element.get("access", ""),
    )


def _errors(paragraphs: tuple[str, ...]) -> tuple[ErrorName, ...] | None:
    told = next((each for each in paragraphs if each.startswith("Errors: ")), None)
    if told is None:
        return None
    names = told.removeprefix("Errors: ").rstrip(".")
    return () if names == NO_ERRORS else tuple(ErrorName(_ERROR + name) for name in names.split(", "))


def _paragraphs(lines: Iterable[str]) -> tuple[str, ...]:
    return tuple(
        " ".join(each.split()) for each in re.split(r"\n\s*\n", "\n".join(lines).strip()) if each.strip()
    )


def _listed(arguments: Iterable[Argument]) -> str:
    return ", ".join(f"{each.signature} {each.name}" for each in arguments)
