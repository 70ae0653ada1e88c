"""The pages of docs/api and the man page, made of the introspection files, the table of permissions and the policy."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from kdumpd.service.bus.description import Emits
from kdumpd.service.permissions import BUS_NAME, LOG_CONTROL, ROOT, RULES, Action, file_of
from tests.api.reading import Argument, Face, Kind, Member
from tests.service.private_bus import DATA

DOCS = Path(__file__).parents[2] / "docs"
API = DOCS / "api"
MAN_PAGE = DOCS / f"{BUS_NAME}.5.md"

_HEADS = {Kind.METHOD: "Methods", Kind.SIGNAL: "Signals", Kind.PROPERTY: "Properties"}
_TOLD = {
    Emits.VALUE: "A change is told with the new value.",
    Emits.INVALIDATES: "A change is told without the new value, which is to be read.",
    Emits.CONST: "It never changes while the object is there.",
    Emits.NOTHING: "A change is not told.",
}
_WHO = {
    "auth_admin": "the password of an administrator, each time",
    "auth_admin_keep": "the password of an administrator, remembered for a while",
    "auth_self": "the user's own password",
    "yes": "nothing",
    "no": "refused",
}


def all_pages(faces: Sequence[Face], *, guide: str) -> Mapping[Path, str]:
    """Every file that is made, with its text; `guide` is docs/api/README.md, whose beginning the man page has as well."""
    asked = policy()
    return {
        **{API / f"{face.short}.md": page(face, asked) for face in faces},
        API / "permissions.md": permissions(faces, asked),
        MAN_PAGE: man_page(faces, asked, guide=guide),
    }


def policy() -> Mapping[Action, tuple[str, str]]:
    """What polkit asks for by default, of users elsewhere and of one who sits at the machine."""
    read = ET.parse(DATA / f"{BUS_NAME}.policy").getroot()  # noqa: S314 - ours
    return {
        Action(each.get("id", "")): (
            each.findtext("defaults/allow_any", ""),
            each.findtext("defaults/allow_active", ""),
        )
        for each in read.findall("action")
    }


# --- Markdown ---------------------------------------------------------------------------------------------------------


def page(face: Face, asked: Mapping[Action, tuple[str, str]]) -> str:
    source = file_of(face.name)
    lines = [
        f"# {face.name}: {face.title[0].lower()}{face.title[1:]}",
        "",
        f"<!-- Made of dbus/{source} by `make api`. -->",
        "",
    ]
    for paragraph in face.text:
        lines += [_escaped(paragraph), ""]
    for kind, head in _HEADS.items():
        if found := face.of(kind):
            lines += [f"## {head}", ""]
            for member in found:
                lines += [*_member(face, member, asked), ""]
    return "\n".join(lines).rstrip() + "\n"


def _member(face: Face, member: Member, asked: Mapping[Action, tuple[str, str]]) -> Iterator[str]:
    yield f"### {member.name}"
    yield ""
    yield f"    {_prototype(member)}"
    yield ""
    for paragraph in member.text:
        yield _escaped(paragraph)
        yield ""
    for argument in member.arguments:
        yield f"* `{argument.name}` ({_argument(argument)}): {_escaped(argument.text)}"
    if member.arguments:
        yield ""
    match member.kind:
        case Kind.METHOD:
            yield f"Authorisation: {_authorisation(face, member, asked)}"
            yield ""
            errors = ", ".join(f"`{name}`" for name in member.errors or ())
            yield f"Errors, beside [those of every call](README.md#errors): {errors or 'none'}."
        case Kind.PROPERTY:
            yield _TOLD[member.emits]
            if member.is_writable:
                yield f"Authorisation to write: {_authorisation(face, member, asked)}"
        case Kind.SIGNAL:
            yield "Sent to everyone who asked for it."


def permissions(faces: Sequence[Face], asked: Mapping[Action, tuple[str, str]]) -> str:
    lines = [
        "# Who may do what",
        "",
        "<!-- Made of kdumpd/service/permissions.py and dbus/org.kdumpd.Kdump1.policy by `make api`. -->",
        "",
        "Reading properties, hearing signals and every member that is not named here needs nothing. uid 0 needs nothing for",
        "anything. Where there is no polkit, only uid 0 may. `GetPermissions` of the Manager tells a caller what is possible.",
        "",
    ]
    for action, (anyone, active) in asked.items():
        needing = [
            f"[{face.short}.{member.name}]({face.short}.md#{member.name.lower()})"
            for face in faces
            for member in face.members
            if (rule := RULES.get((face.name, member.name))) is not None and rule.action is action
        ]
        lines += [
            f"## {action}",
            "",
            f"{', '.join(needing)}.",
            "",
            f"* a user who sits at the machine: {_WHO[active]}",
            f"* any other user: {_WHO[anyone]}",
            "",
        ]
    return "\n".join(lines).rstrip() + "\n"


def _authorisation(face: Face, member: Member, asked: Mapping[Action, tuple[str, str]]) -> str:
    rule = RULES[face.name, member.name]
    if rule.action is None:
        return "none."
    details = ", ".join(f"`{key}`" for key in face.details)
    told = f" Rules of polkit are told {details}." if details else ""
    own = " Nothing for one's own." if rule.is_free_to_owner else ""
    _anyone, active = asked[rule.action]
    return f"[`{rule.action}`](permissions.md#{_anchor(rule.action)}), by default {_WHO[active]}.{own}{told}"


def _anchor(action: Action) -> str:
    return re.sub(r"[^\w-]", "", action.lower())


def _prototype(member: Member) -> str:
    takes = ", ".join(f"{each.signature} {each.name}" for each in member.arguments if not each.is_result)
    gives = ", ".join(f"{each.signature} {each.name}" for each in member.arguments if each.is_result)
    match member.kind:
        case Kind.METHOD:
            return f"{member.name}({takes}) -> ({gives})"
        case Kind.SIGNAL:
            return f"{member.name}({takes})"
        case Kind.PROPERTY:
            return f"{member.signature} {member.name}, {'read and write' if member.is_writable else 'read'}"


def _argument(argument: Argument) -> str:
    return f"`{argument.signature}`, a result" if argument.is_result else f"`{argument.signature}`"


def _escaped(text: str) -> str:
    """What stands between back quotes is left as it is."""
    parts = text.split("`")
    return "`".join(
        re.sub(r"([_*<\[\]])", r"\\\1", part) if place % 2 == 0 else part for place, part in enumerate(parts)
    )


# --- the man page -----------------------------------------------------------------------------------------------------


def man_page(faces: Sequence[Face], asked: Mapping[Action, tuple[str, str]], *, guide: str) -> str:
    lines = [
        f"# {BUS_NAME}(5): the D-Bus API of kdumpd",
        "",
        "<!-- Made of dbus/*.xml and docs/api/README.md by `make api`. -->",
        "",
        "## SYNOPSIS",
        "",
        f"**busctl** **introspect** {BUS_NAME} {ROOT}",
        "",
        f"**busctl** **monitor** {BUS_NAME}",
        "",
        "## DESCRIPTION",
        "",
        *_guide(guide),
    ]
    for face in faces:
        lines += [f"## THE INTERFACE {face.name}", ""]
        for paragraph in face.text:
            lines += [_escaped(paragraph), ""]
        for member in sorted(face.members, key=lambda each: list(Kind).index(each.kind)):
            lines += [*_entry(face, member, asked), ""]
    lines += [
        "## SEE ALSO",
        "",
        "**kdumpd**(8), **kdumpctl**(8), **kdump.conf**(5), **busctl**(1), **polkit**(8), **org.freedesktop.LogControl1**(5)",
    ]
    return "\n".join(lines).rstrip() + "\n"


def _guide(text: str) -> Iterator[str]:
    """The part of the guide between its two marks, which speaks of no other file."""
    _, begin, rest = text.partition("<!-- begin: also in the man page -->\n")
    part, end, _ = rest.partition("<!-- end: also in the man page -->\n")
    if not begin or not end:
        raise ValueError("docs/api/README.md has no part for the man page")
    for line in part.strip().splitlines():
        yield re.sub(r"^##+ (.*)$", lambda found: f"### {found[1]}", line)
    yield ""


def _entry(face: Face, member: Member, asked: Mapping[Action, tuple[str, str]]) -> Iterator[str]:
    takes = ", ".join(_in_bold(each) for each in member.arguments if not each.is_result)
    gives = ", ".join(_in_bold(each) for each in member.arguments if each.is_result)
    match member.kind:
        case Kind.METHOD:
            yield f"**{member.name}**({takes})" + (f" → {gives}" if gives else "")
        case Kind.SIGNAL:
            yield f"signal **{member.name}**({takes})"
        case Kind.PROPERTY:
            yield f"property **{member.name}** {member.signature}"
    said = [*(_escaped(each) for each in member.text)]
    said += [f"*{_escaped(each.name)}*: {_escaped(each.text)}" for each in member.arguments]
    if member.errors:
        said.append(f"Errors: {', '.join(name.rpartition('.')[2] for name in member.errors)}.")
    if member.kind is Kind.PROPERTY and member.emits is not Emits.VALUE:
        said.append(_TOLD[member.emits])
    rule = RULES.get((face.name, member.name))
    if rule is not None and rule.action is not None and face.name != LOG_CONTROL:
        said.append(f"By default {_WHO[asked[rule.action][1]]}.")
    yield f": {' '.join(said)}"


def _in_bold(argument: Argument) -> str:
    return f"{_escaped(argument.signature)} *{_escaped(argument.name)}*"
