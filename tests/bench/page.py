"""Writes what was measured down as a page of Markdown, so that whoever reads it can judge the run by itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tests.bench.figures import Figure

_HEAD = """\
# Benchmarks

`make bench` wrote this page from one run: {when}, {minutes:.0f} minutes. It is not edited by hand.

kdumpd, Debian's kdump-tools, and what no capture can beat: one bare `kexec -p`, and a hand-made image of busybox and
makedumpfile that boots, loads four modules and saves. All of it in the same machine of QEMU (same disk image below, same
memory, same `crashkernel=`), and in turn, A B A B, so that whatever else the host did met both. What counts are the
ratios: an emulated machine's seconds are not a real one's. Medians of the repetitions decide, the smallest and the
largest stand in brackets.
"""

_WAYS = """\
## How it was measured

* **kdump-tools** is Debian's default (modules `dep`, zstd) but for `MAKEDUMP_ARGS`; it adds `-F` to that by itself. Both
  machines begin as the same list of packages, without those that only kdumpd's tests need.
* **edit -> armed** is from the rename of a new kdump.conf to the D-Bus signal that says armed with that path; the bare
  load is the kexec call that kdumpd itself makes, by hand, with the same flags, image and command line, right beside it:
  after it, before it, after it ... The median of the pairs decides.
* **nothing loaded** is what `kexec_crash_loaded` says, read each 5 ms. It is told against the very run of kexec in which
  it fell, and against a bare load right beside it.
* **base build** is from the request over D-Bus until the load begins: base and overlay built, proved and published.
  kdump-tools' is `/etc/kernel/postinst.d/kdump-tools`.
* **after a crash** the seconds are this host's, from the panic's line on the serial console to the line that says that
  makedumpfile runs, and to the first line after the sync.
* **wake-ups** are context switches of all the daemon's tasks; **resident memory** is VmRSS at the end of that time.
"""


def page(
    figures: Iterable[Figure],
    *,
    when: str,
    minutes: float,
    versions: Mapping[str, str],
    notes: Iterable[str] = (),
) -> str:
    figures = tuple(figures)
    lines = [_HEAD.format(when=when, minutes=minutes)]
    lines += [f"* {note}" for note in notes]
    met = sum(figure.is_met for figure in figures)
    measured = sum(not figure.missing for figure in figures)
    lines += ["", f"{met} of {len(figures)} targets met, {len(figures) - measured} not measured.", ""]
    lines += ["| figure | at most | found | |", "|---|---|---|---|"]
    lines += [_row(figure) for figure in figures]
    lines += ["", "## With what", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in versions.items()]
    lines += ["", _WAYS, "## All that was seen", ""]
    for figure in figures:
        lines += _details(figure)
    return "\n".join(lines).rstrip() + "\n"


def _row(figure: Figure) -> str:
    if figure.missing:
        return f"| {figure.title} | {figure.target} | not measured | {_cell(figure.missing)} |"
    found = "<br>".join(claim.found for claim in figure.claims)
    verdict = "<br>".join(claim.verdict for claim in figure.claims)
    return f"| {figure.title} | {figure.target} | {found} | {verdict} |"


def _details(figure: Figure) -> list[str]:
    if not (figure.samples or figure.remarks):
        return []
    lines = [f"**{figure.title[0].upper()}{figure.title[1:]}**", ""]
    for samples in figure.samples:
        each = ", ".join(f"{value:.2f}".rstrip("0").rstrip(".") for value in samples.values)
        lines.append(
            f"* {samples.name}: {samples}" + (f"; in turn {each}" if len(samples.values) > 1 else "")
        )
    return [*lines, *(f"* {remark}" for remark in figure.remarks), ""]


def _cell(text: str) -> str:
    """One line that cannot end its cell."""
    return text.strip().splitlines()[0].replace("|", "\\|")[:200] if text.strip() else "no reason was given"
