"""Five thousand damaged configurations: never an exception, every problem has its line, and the text stays whole."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from kdumpd.core.config import read
from kdumpd.core.document import parse
from kdumpd.core.settings import SETTINGS

RHEL_6 = (Path(__file__).parent / "rhel6-kdump.conf").read_text()
SETTLED = "\n".join(
    line.removeprefix("#") for line in RHEL_6.splitlines() if line[:2] != "# " and line != "#"
)
FULL = """\
ssh root@dumps.example.com
path "/var/crash"
core_collector makedumpfile -F -l --message-level=7 -d 11,31
kdump_pre /usr/libexec/pre
extra_bins /bin/a /bin/b
extra_modules nvme tcp
options bnx2 disable_msi=1
blacklist a b
sshkey /root/.ssh/key
failure_action shell
final_action poweroff
disk_timeout 30
dracut_args --add-drivers "a b"
fence_kdump_nodes n1 n2
fence_kdump_args -p 7410
auto_reset_crashkernel no\r
"""
MOUNTED = (
    'path /crash\ndracut_args --add-drivers "a b" --mount "/dev/sda1 /mnt ext4 defaults"\ndefault halt\n'
)
SEEDS = (RHEL_6[RHEL_6.index("#raw") :], SETTLED, FULL, MOUNTED)
PIECES = (
    *SETTINGS,
    *(
        "#",
        '"',
        "'",
        "\\",
        "\r\n",
        "\n",
        "\t",
        " ",
        "=",
        "\x00",
        "\x0b",
        "\x85",
        "\u2028",
        "\ufeff",
        "\udcff",
        "é",
    ),
    *(
        "-d",
        "--",
        "-F",
        "--mount",
        "--mount=",
        "UUID=",
        "LABEL=",
        "@",
        ":/",
        "[",
        "]",
        "%",
        "..",
        "0",
        "9" * 30,
        "-1",
    ),
    *("$(reboot)", ";", "`", "\x1b[2J", "x" * 5000),
)


def repeatable(seed: int) -> random.Random:
    """The same damage at every run; nothing here is a secret."""
    return random.Random(seed)  # noqa: S311


def mutated(random_numbers: random.Random) -> str:
    text = random_numbers.choice(SEEDS)
    for _ in range(random_numbers.randint(1, 8)):
        place = random_numbers.randint(0, len(text))
        match random_numbers.randrange(5):
            case 0:
                text = text[:place] + random_numbers.choice(PIECES) + text[place:]
            case 1:
                text = text[:place] + text[place + random_numbers.randint(1, 40) :]
            case 2:
                text = text[:place] + chr(random_numbers.randrange(256)) + text[place + 1 :]
            case 3:
                lines = text.splitlines(keepends=True)
                random_numbers.shuffle(lines)
                text = "".join(lines)
            case _:
                end = place + random_numbers.randint(1, 60)
                text = text[:place] + text[place:end] * 2 + text[end:]
    return text


@pytest.mark.parametrize("seed", range(10))
def test_a_damaged_configuration_is_told_about_and_nothing_else_happens(seed: int) -> None:
    random_numbers = repeatable(seed)
    for _ in range(500):
        text = mutated(random_numbers)
        document = parse(text)
        assert document.render() == text
        reading = read(document, file="kdump.conf")
        lines = text.count("\n") + 1
        for problem in reading.problems:
            assert 1 <= problem.line <= lines, (problem, text)
            assert problem.code
            assert problem.message.isprintable(), (problem, text)
            assert (problem.key + problem.hint + "x").isprintable(), (problem, text)
            assert problem.file == "kdump.conf"
        assert (reading.config is None) == any(problem.is_error for problem in reading.problems)
        if reading.config is not None:
            reading.config.model_dump_json()


def test_the_mutations_reach_both_valid_and_invalid_configurations() -> None:
    random_numbers = repeatable(0)
    readings = [read(parse(mutated(random_numbers)), file="kdump.conf") for _ in range(300)]
    assert any(reading.config is None for reading in readings)
    assert any(reading.config is not None for reading in readings)
    assert len({problem.code for reading in readings for problem in reading.problems}) > 15
