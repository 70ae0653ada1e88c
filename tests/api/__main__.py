"""`make api`: writes the pages of docs/api, the man page and the list of what each revision of the API promises anew."""

from __future__ import annotations

import argparse

from kdumpd.service.interfaces import API_REVISION
from tests.api.pages import API, all_pages
from tests.api.reading import faces, members
from tests.api.revisions import LIST, read, released, with_members, written


def main() -> None:
    known = argparse.ArgumentParser(prog="python -m tests.api", description=__doc__)
    known.add_argument(
        "--release", metavar="VERSION", help="from now on, nothing of the present revision may change"
    )
    asked = known.parse_args()
    kept = with_members(
        read(LIST.read_text(encoding="utf-8")),
        [member.prototype for member in members().values()],
        revision=API_REVISION,
    )
    if asked.release:
        kept = released(kept, version=asked.release)
    LIST.write_text(written(kept), encoding="utf-8")
    guide = (API / "README.md").read_text(encoding="utf-8")
    for path, text in all_pages(faces(), guide=guide).items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
