"""`make bench`: the promises that are numbers, measured on this machine in one run, against Docker itself.

Starts a server of its own with an empty data directory, on the engine at DOCKER_HOST, and prints a table.
With `--write` the table replaces the one in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

from bench import containers, execs, files, lists, roles, terminals
from bench.measure import Figure, Workbench, workbench

SUBJECTS: dict[str, Callable[[Workbench], Awaitable[list[Figure]]]] = {
    "containers": containers.run,
    "execs": execs.run,
    "terminals": terminals.run,
    "files": files.run,
    "lists": lists.run,
    "roles": roles.run,
}
PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
BEGIN, END = "<!-- figures -->", "<!-- /figures -->"


def table(figures: list[Figure]) -> str:
    rows = ["| what | measured | against | ratio | goal | |", "|---|---|---|---|---|---|"]
    rows += [figure.row() for figure in figures]
    return "\n".join(rows)


def write(text: str) -> None:
    page = PAGE.read_text()
    head, rest = page.split(BEGIN, 1)
    tail = rest.split(END, 1)[1]
    PAGE.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}")


async def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("subjects", nargs="*", default=[], metavar="SUBJECT", help=", ".join(SUBJECTS))
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args()
    unknown = set(options.subjects) - set(SUBJECTS)
    if unknown:
        parser.error(f"no such subject: {', '.join(sorted(unknown))}")
    figures: list[Figure] = []
    async with workbench() as bench:
        for name in options.subjects or SUBJECTS:
            print(f"… {name}", file=sys.stderr, flush=True)
            figures += await SUBJECTS[name](bench)
    kernel = platform.release().split("-")[0]
    when = f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, Linux {kernel}, {bench.engine}"
    text = f"{when}\n\n{table(figures)}"
    print(text)
    if options.write:
        write(text)
    return 0 if all(figure.met is not False for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
