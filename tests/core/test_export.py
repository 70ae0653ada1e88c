"""What is exported gives another machine the same settings, whatever their values hold."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kdumpd.core import config
from kdumpd.core.document import parse
from kdumpd.core.export import Format, exported
from kdumpd.core.problems import Trouble, errors

REPOSITORY = Path(__file__).parents[2]
PATH = "/etc/kdump.conf"
TEXTS = (
    "",
    "# nothing but a comment\n",
    "path /var/crash\n",
    "sshkey /root/.ssh/key\nssh dump@server\ncore_collector makedumpfile -F -l --message-level 7 -d 31\n",
    "ext4 LABEL=dumps\npath /a b\nblacklist one\nblacklist two\n",
    "options one a=1\noptions two b='x y' # why\nextra_bins /bin/a /bin/b\n",
    'nfs server:/export\npath /$(false)/`id`/it\'s/\\"{{ braces }}"\n',
    "dracut_args --no-hostonly\nforce_rebuild 1\nfailure_action halt\n",
)


@pytest.mark.parametrize("text", TEXTS)
def test_the_script_gives_an_empty_machine_the_same_settings(tmp_path: Path, text: str) -> None:
    document = parse(text)
    assert not errors(config.read(document, file=PATH).problems)
    programs = tmp_path / "bin"
    programs.mkdir()
    kdumpctl = programs / "kdumpctl"
    # In the place of the daemon, `config text` keeps what would be made effective.
    kdumpctl.write_text(
        f'#!/bin/sh\n[ "$2" = text ] && exec cp "$3" {tmp_path}/new\n'
        f'PYTHONPATH={REPOSITORY} exec {sys.executable} -m kdumpd.cli "$@"\n'
    )
    kdumpctl.chmod(0o755)
    script = exported(document, Format.SHELL, path=PATH, mode=0o644)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rebuilt = parse((tmp_path / "new").read_text())
    assert {key: rebuilt.values(key) for key in rebuilt.keys} == {
        key: document.values(key) for key in document.keys
    }
    assert sorted(each.name for each in tmp_path.iterdir()) == ["bin", "new"], "the temporary file is gone"


@pytest.mark.parametrize("text", TEXTS)
def test_the_tasks_write_the_very_text(text: str) -> None:
    tasks = exported(parse(text), Format.ANSIBLE, path=PATH, mode=0o600)
    (content,) = re.findall(r"^    content: !unsafe (.*)$", tasks, flags=re.MULTILINE)
    assert json.loads(content) == text
    assert '    mode: "0600"\n' in tasks
    assert '    dest: "/etc/kdump.conf"\n' in tasks
    assert "    name: kdump.service\n    enabled: true\n" in tasks


@pytest.mark.parametrize("form", Format)
def test_bytes_that_no_format_can_hold_are_refused(form: Format) -> None:
    with pytest.raises(Trouble) as trouble:
        exported(parse("# \udcff\npath /a\n"), form, path=PATH, mode=0o644)
    assert [problem.code for problem in trouble.value.problems] == ["not-supported"]
