"""A configuration as a program that rebuilds it elsewhere: a shell script for kdumpctl, or tasks for Ansible."""

from __future__ import annotations

import json
import shlex
from enum import StrEnum

from kdumpd.core.document import Document
from kdumpd.core.problems import Problem, Trouble
from kdumpd.core.settings import SETTINGS


class Format(StrEnum):
    SHELL = "shell"
    ANSIBLE = "ansible"


def exported(document: Document, form: Format, *, path: str, mode: int) -> str:
    """Of a `document` without errors that stands at `path` with that mode. Raises Trouble where it is not UTF-8."""
    text = document.render()
    try:
        text.encode()
    except UnicodeEncodeError as fault:
        problem = Problem(
            code="not-supported",
            message="there are bytes in it that are not UTF-8, which neither format can hold",
            file=path,
        )
        raise Trouble(problem) from fault
    match form:
        case Format.SHELL:
            return _shell(document, path=path)
        case Format.ANSIBLE:
            return _ansible(text, path=path, mode=mode)


def _shell(document: Document, *, path: str) -> str:
    """The settings are put together in a file of their own, so that nothing half done is ever armed, and go in at once.

    The target comes first: what other directives may say depends on it.
    """
    keys = sorted(dict.fromkeys(document.keys), key=lambda key: not SETTINGS[key].is_target)
    lines = [
        "#!/bin/sh",
        f"# Gives a machine the settings of this {path}. Needs root, and a running kdumpd.",
        "set -eu",
        "new=$(mktemp)",
        "trap 'rm -f \"$new\"' EXIT",
        *(
            f'kdumpctl config set --file "$new" -- {shlex.join((key, *_values(document, key)))}'
            for key in keys
        ),
        'kdumpctl config text "$new"',
    ]
    return "\n".join(lines) + "\n"


def _values(document: Document, key: str) -> tuple[str, ...]:
    values = document.values(key)
    return values if SETTINGS[key].repeats else values[-1:]


def _ansible(text: str, *, path: str, mode: int) -> str:
    """A text of JSON is one of YAML; `!unsafe` keeps Ansible from taking braces in it for a template."""
    return f"""\
- name: Write the configuration of crash dumps
  ansible.builtin.copy:
    dest: {json.dumps(path)}
    content: !unsafe {json.dumps(text)}
    owner: root
    group: root
    mode: "{mode:04o}"

- name: Keep the machine armed with it
  ansible.builtin.systemd:
    name: kdump.service
    enabled: true
    state: started
"""
