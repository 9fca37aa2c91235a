"""What can be asked of Rexec on its own machine."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Coroutine
from contextlib import suppress
from typing import Annotated, Any, TypeVar

import structlog
from cyclopts import App, Parameter
from rich.console import Console

from rexec.errors import Invalid, RexecError
from rexec.server.settings import Settings, read_settings

app = App(name="rexec", help="Sandboxed Linux machines on demand.")
images = App(name="images", help="The images that are here.")
app.command(images)
_out, _err = Console(highlight=False, soft_wrap=True), Console(stderr=True, highlight=False, soft_wrap=True)
Result = TypeVar("Result")


def fail(message: str) -> None:
    _err.print(f"[red]rexec:[/red] {message}", markup=True)
    sys.exit(1)


def load_settings() -> Settings:
    """Ends the program with one line for each setting that is wrong. A command logs only what is wrong."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        return read_settings()
    except Invalid as error:
        _err.print(error.message, markup=False)
        sys.exit(2)


def installed() -> Settings:
    """Of a server that has started once: a command in a wrong place must not make another installation there."""
    from rexec.server.store.engines import file_of, parse

    settings = load_settings()
    file = file_of(parse(settings.database))
    if file is not None and not file.exists():
        fail(f"there is no database at {file} yet (REXEC_DATA_DIR names another place)")
    return settings


def finish(work: Coroutine[Any, Any, Result]) -> Result:
    try:
        return asyncio.run(work)
    except RexecError as error:
        fail(error.message)
    except KeyboardInterrupt:
        sys.exit(130)
    raise AssertionError("unreachable")


@app.command
def serve() -> None:
    """Run the server, in the place of this process."""
    os.execv(sys.executable, [sys.executable, "-m", "rexec.server"])  # noqa: S606


@app.command(name="settings")
def show_settings() -> None:
    """Print the effective settings, secrets masked."""
    _out.print_json(json.dumps(load_settings().masked()))


@app.command
def openapi() -> None:
    """Print the API's description."""
    from rexec.server.api.openapi import describe_api
    from rexec.server.app import create_api

    with suppress(BrokenPipeError):
        print(json.dumps(describe_api(create_api()), indent=2), flush=True)
        return
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter's last flush fails again


@app.command
def admin_token(*, reset: Annotated[bool, Parameter(help="End the present one and print a new one.")] = False) -> None:
    """Whether there is an admin token; with --reset, a new one."""
    from rexec.cli.local import admin_token as made

    settings = installed()
    token = finish(made(settings, reset=reset))
    if token is None:
        _out.print("There is an admin token; it was shown when it was made. --reset makes a new one.")
    else:
        print(token)


@app.command
def doctor(
    *,
    adopt: Annotated[str | None, Parameter(help="Make a container of this quarantined engine object.")] = None,
    owner: Annotated[str | None, Parameter(help="Whose it becomes; the first admin's if not given.")] = None,
    purge: Annotated[str | None, Parameter(help="Remove this quarantined engine object now.")] = None,
) -> None:
    """Check what a server needs on this machine. Ends with 1 when something essential is missing."""
    from rexec.cli import local

    settings = load_settings()
    if adopt is not None:
        row = finish(local.adopt(settings, adopt.removeprefix("rexec-"), owner))
        _out.print(f"rexec-{row.engine_key} is the container {row.name} ({row.id}) now, stopped", markup=False)
        return
    if purge is not None:
        finish(local.purge(settings, purge.removeprefix("rexec-")))
        _out.print(f"rexec-{purge.removeprefix('rexec-')} is removed", markup=False)
        return
    findings = finish(local.examine(settings))
    for finding in findings:
        sign = {"ok": "[green]ok[/green]  ", "note": "[yellow]note[/yellow]", "bad": "[red]bad[/red] "}[finding.kind]
        _out.print(f"{sign}  {finding.text}")
    sys.exit(1 if any(finding.kind == "bad" for finding in findings) else 0)


@app.command
def uninstall(*, yes: Annotated[bool, Parameter(help="Do it; without, only tell what would go.")] = False) -> None:
    """Remove what a stopped server left in the engine: its containers with their data, its network, its firewall rules.
    Images and the data directory stay."""
    from rexec.cli import local

    settings = installed()
    if not yes:
        count = finish(local.objects(settings))
        fail(f"{count} containers of {settings.data_dir} and their data would go; stop the server and say --yes")
    finish(local.uninstall(settings))
    _out.print("The engine has nothing of this installation any more.")


@images.default
def list_images() -> None:
    """Show the catalogue and what of it is here, with the roles that are baked on it."""
    from rexec.cli.local import baked, present

    settings = load_settings()
    for name, image in finish(present(settings)):
        _out.print(f"{name:<32} {_size(image.size_bytes) if image else 'not here yet'}", markup=False)
    for layer in finish(baked(settings)):
        lacks = f"  lacks {', '.join(layer.missing)}" if layer.missing else ""
        _out.print(f"{layer.image + ' + ' + layer.role:<32} {_size(layer.size_bytes)}{lacks}", markup=False)


images.command(list_images, name="list")


@images.command
def build(
    name: str | None = None,
    *,
    role: Annotated[list[str] | None, Parameter(help="Bake this role on it (may be repeated).")] = None,
    everything: Annotated[bool, Parameter(name="--all", help="Every image, with every role baked on it.")] = False,
) -> None:
    """Make sure that an image is here (from a registry, or built from the distribution's packages) and that roles are
    baked on it. What cannot be had is told, and the rest is made all the same."""
    from rexec.cli.local import bake, present, provide
    from rexec.server.core.recipes import read_recipes

    settings = load_settings()
    names = [found for found, _ in finish(present(settings))] if everything else [name or settings.default_image]
    failed = False
    try:
        known = list(read_recipes(settings.layers.recipes))
    except RexecError as error:
        fail(error.message)
    for reference in names:
        for wanted in (None, *(known if everything else role or [])):
            try:
                made = provide(settings, reference) if wanted is None else bake(settings, wanted, reference)
                for sentence in getattr(asyncio.run(made), "degraded", ()):
                    _err.print(f"degraded: {sentence}", markup=False)
            except RexecError as error:
                failed = True
                _err.print(f"rexec: {reference}: {error.message}", markup=False)
                if wanted is None:
                    break
    sys.exit(1 if failed else 0)


def _size(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
