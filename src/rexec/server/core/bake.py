"""One bake: a recipe carried out in a container of its own, proved tool by tool, and committed as a layer."""

from __future__ import annotations

import asyncio
import json
import os
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from rexec.errors import Broken, NotFound, RexecError, Unavailable
from rexec.server.core.recipes import MANAGERS, Applied, Download, Manager, Recipe, Step
from rexec.server.ports.guest import Frame, Guest, Guests, Stream
from rexec.server.ports.images import ProgressCallback
from rexec.server.ports.layers import ROLE_LABEL, Downloads, LayerEngine
from rexec.server.ports.records import ExecRequest, Image, Limits, PullProgress, Reason, Spec
from rexec.server.ports.reference import LOCAL_REGISTRY

_log = structlog.get_logger(__name__)
BASE, IMAGE, MADE_OF, MISSING = "rexec.base", "rexec.image", "rexec.recipe", "rexec.missing"
"""Labels of a layer: the digest it lies on and that image's name, its recipe's fingerprint, what it lacks (JSON)."""
_WHOLE = 1000
_TAIL_LINES, _TAIL_BYTES, _LINE = 15, 1500, 200
_TEST_TIMEOUT = 60.0
_PREPARING, _COMMITTING = 2.0, 4.0
_OUT_OF_REACH = 75
"""What the scripts below end with when the packages' index cannot be had."""
_DETECT = "for m in apt-get apk pacman dnf; do command -v $m >/dev/null 2>&1 && { echo ${m%-get}; exit; }; done; exit 1"
_INSTALL: Mapping[Manager, str] = {
    # `new-name|old-name`: the first that this release has. Status on 1 would close it for the packages' own scripts.
    "apt": """\
apt-get -q -o APT::Update::Error-Mode=any -o Acquire::Retries=3 update || exit 75
for wanted in "$@"; do
    shift
    name=${wanted%%|*}
    apt-cache show "$name" >/dev/null 2>&1 || name=${wanted##*|}
    set -- "$@" "$name"
done
apt-get -q -y --no-install-recommends -o Dpkg::Use-Pty=0 -o APT::Status-Fd=3 install "$@" 3>&1
apt-get clean
rm -rf /var/lib/apt/lists/*
""",
    "apk": """\
apk update || exit 75
apk add --no-progress "$@"
rm -rf /var/cache/apk/*
""",
    "pacman": """\
pacman -Sy --noconfirm --noprogressbar || exit 75
pacman -Su --noconfirm --noprogressbar --needed "$@"
rm -rf /var/cache/pacman/pkg/*
""",
    "dnf": """\
dnf -y makecache || exit 75
dnf -y install --setopt=install_weak_deps=False "$@"
dnf clean all
""",
}
_ENVIRONMENT = {
    "HOME": "/root", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class BakeRules:
    limits: Limits
    builder: str
    """Whose builds these are, so that those of a server that was killed are found again."""
    guest_timeout: float


@dataclass(frozen=True, slots=True)
class _End:
    """Of a command."""

    code: int
    how: str
    tail: list[str]


@dataclass(slots=True)
class _Meter:
    """Thousandths of the whole, by how long each step is said to take."""

    role: str
    whole: float
    progress: ProgressCallback
    done: float = 0.0
    told: tuple[int, str] = (-1, "")

    def tell(self, step: str, seconds: float, share: float, doing: str) -> None:
        current = int(_WHOLE * (self.done + seconds * min(1.0, share)) / self.whole)
        message = f"Installing the role {self.role}: {doing}"
        if (current // 10, message) != self.told:
            self.told = (current // 10, message)
            self.progress(PullProgress(step, current, _WHOLE, message))


class Bake:
    """`run` may be repeated after anything; what it leaves behind when its server dies is found by its labels."""

    def __init__(self, engine: LayerEngine, guests: Guests, downloads: Downloads, rules: BakeRules) -> None:
        self._engine = engine
        self._guests = guests
        self._downloads = downloads
        self._rules = rules

    async def run(self, recipe: Recipe, image: Image, progress: ProgressCallback) -> Image:
        """Raises `Broken` (`setup_failed`) that names the step."""
        key = f"bake-{os.urandom(8).hex()}"
        spec = Spec(engine_key=key, image=image.digest, limits=self._rules.limits, hostname="bake")
        meter = _Meter(recipe.role, 1.0, progress)
        meter.tell("preparing", 1, 0, "preparing")
        try:
            await self._guests.expect(key)
            async with self._engine.building(spec, self._rules.builder):
                guest = await self._guests.wait(key, self._rules.guest_timeout)
                applied = recipe.applied(await _manager(guest, recipe.role, image), image.architecture)
                meter.whole = (
                    _PREPARING + applied.limits.seconds + sum(step.seconds for step in applied.steps) + _COMMITTING
                )
                missing = await _Baking(guest, self._downloads, applied, meter).carry_out()
                meter.tell("committing", _COMMITTING, 0.5, "keeping the layer")
                ref = layer_reference(image, applied.fingerprint)
                return await self._engine.commit(key, ref, _labels(applied, image, missing))
        finally:
            await self._guests.forget(key)


def layer_reference(image: Image, fingerprint: str) -> str:
    return f"{LOCAL_REGISTRY}/role:{image.digest.removeprefix('sha256:')[:16]}-{fingerprint}"


def _labels(applied: Applied, image: Image, missing: Mapping[str, str]) -> dict[str, str]:
    return {
        ROLE_LABEL: applied.role, BASE: image.digest, IMAGE: image.ref, MADE_OF: applied.fingerprint,
        MISSING: json.dumps(missing),
    }  # fmt: skip


async def _manager(guest: Guest, role: str, image: Image) -> Manager:
    try:
        found = await guest.exec(ExecRequest(("sh", "-c", _DETECT), env=_ENVIRONMENT, user="root", timeout=30))
        said = found.stdout.decode(errors="replace").strip()
    except RexecError:
        said = ""
    for manager in MANAGERS:
        if said == manager:
            return manager
    raise _failed(role, "preparing", f"{image.ref} has none of the package managers {', '.join(MANAGERS)}")


class _Baking:
    """What happens inside the container."""

    def __init__(self, guest: Guest, downloads: Downloads, applied: Applied, meter: _Meter) -> None:
        self._guest = guest
        self._downloads = downloads
        self._applied = applied
        self._meter = meter
        self._reasons: dict[str, str] = {}

    async def carry_out(self) -> dict[str, str]:
        """What of the promised is missing, and why."""
        self._meter.done = _PREPARING
        await self._packages()
        for step in self._applied.steps:
            await self._step(step)
            self._meter.done += step.seconds
        return await self._proved()

    async def _packages(self) -> None:
        packages, limits = self._applied.packages, self._applied.limits
        if packages:
            script = f"set -e\n{_INSTALL[self._applied.manager]}"
            argv = ("sh", "-c", script, "sh", *packages)
            end = await self._command("packages", argv, limits.seconds, limits.timeout)
            if end.code == _OUT_OF_REACH:
                why = f"the distribution's packages are out of reach ({_last(end.tail)})"
                self._reasons = dict.fromkeys(self._applied.tools, why)
            elif end.code != 0:
                raise _failed(self._applied.role, "packages", end.how, end.tail)
        self._meter.done += limits.seconds

    async def _step(self, step: Step) -> None:
        if step.optional and not step.downloads:
            self._reasons |= dict.fromkeys(step.provides, "there is none for this kind of image")
            return
        try:
            for download in step.downloads:
                await self._download(step, download)
        except NotFound as error:
            if not step.optional:
                raise _failed(self._applied.role, step.name, error.message) from error
            self._reasons |= dict.fromkeys(step.provides, error.message)
            return
        except Broken as error:
            raise _failed(self._applied.role, step.name, error.message) from error
        if step.script:
            argv = ("sh", "-c", f"set -e\n{step.script}")
            end = await self._command(step.name, argv, step.seconds, step.timeout)
            if end.code != 0:
                raise _failed(self._applied.role, step.name, end.how, end.tail)

    async def _download(self, step: Step, download: Download) -> None:
        def fetched(part: PullProgress) -> None:
            share = part.current / part.total if part.total else 0.0
            self._meter.tell(step.name, step.seconds / 2, share, f"fetching {download.name}")

        file = await self._downloads.fetch(download.url, download.sha256, fetched)
        self._meter.tell(step.name, step.seconds, 0.5, f"unpacking {download.name}")
        async with self._downloads.unpacked(file, download.name, download.inner, download.beneath) as tar:
            query = {"path": download.into, "user": "root"}
            await self._guest.upload("/v1/files/archive", query=query, body=_pieces(tar))

    async def _proved(self) -> dict[str, str]:
        missing = {}
        for tool, command in self._applied.tools.items():
            end = await self._command(f"test of {tool}", ("sh", "-c", command), 0, _TEST_TIMEOUT)
            if end.code != 0:
                if tool not in self._reasons:
                    raise _failed(self._applied.role, f"test of {tool}", f"`{command}`: {end.how}", end.tail)
                missing[tool] = self._reasons[tool]
        if missing and len(missing) == len(self._applied.tools):
            tool, why = next(iter(missing.items()))
            raise _failed(self._applied.role, "packages", f"nothing of the role could be had; {tool}: {why}")
        return missing

    async def _command(self, step: str, argv: tuple[str, ...], seconds: float, timeout: float) -> _End:
        tail: deque[str] = deque(maxlen=_TAIL_LINES)
        request = ExecRequest(argv, cwd="/", env=_ENVIRONMENT, user="root", timeout=timeout)
        self._meter.tell(step, seconds, 0, step)
        async with asyncio.timeout(timeout + _TEST_TIMEOUT), self._guest.exec_stream(request) as stream:
            await stream.close_input()
            rest = b""
            async for frame in _frames(stream):
                if frame.kind == "c":
                    told = frame.control()
                    if told.get("type") == "exit":
                        if rest:
                            tail.append(rest.decode(errors="replace")[:_LINE])
                        return _End(int(told.get("exit_code", -1)), _how(told, timeout), list(tail))
                    continue
                *lines, rest = (rest + frame.payload)[-65536:].replace(b"\r", b"\n").split(b"\n")
                for line in lines:
                    self._line(step, seconds, line.decode(errors="replace").strip(), tail)
        raise _without_a_word()

    def _line(self, step: str, seconds: float, line: str, tail: deque[str]) -> None:
        """apt tells its shares as `pmstatus:package:percent:words`; a third of the way is fetching."""
        kind, _, rest = line.partition(":")
        if kind not in ("dlstatus", "pmstatus"):
            if line:
                tail.append(line[:_LINE])
            return
        parts = rest.split(":", 2)
        try:
            share = float(parts[1]) / 100
        except (IndexError, ValueError):
            return
        share = share / 3 if kind == "dlstatus" else 1 / 3 + share * 2 / 3
        self._meter.tell(step, seconds, share, parts[-1][:_LINE] or step)


async def _frames(stream: Stream) -> AsyncIterator[Frame]:
    try:
        while (frame := await stream.receive()) is not None:
            yield frame
    except Unavailable as cut:
        raise _without_a_word() from cut


def _without_a_word() -> Broken:
    return Broken("the guest ended a command without a word", code="guest_protocol")


def _how(told: Mapping[str, Any], timeout: float) -> str:
    if told.get("timed_out"):
        return f"not done within {timeout:g} s"
    memory = ", the build ran out of memory (REXEC_LAYERS__MEMORY_MB)"
    return f"exit {told.get('exit_code')}{memory if told.get('reason') == 'out_of_memory' else ''}"


def _last(tail: list[str]) -> str:
    return tail[-1] if tail else "it said nothing"


def _failed(role: str, step: str, why: str, tail: list[str] | None = None) -> Broken:
    words = "\n".join(tail or [])[-_TAIL_BYTES:]
    message = f"the role {role} could not be installed: step `{step}`: {why}" + (f"\n{words}" if words else "")
    return Broken(message, code=Reason.SETUP_FAILED, step=step)


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    file = await asyncio.to_thread(path.open, "rb")
    try:
        while piece := await asyncio.to_thread(file.read, 1 << 20):
            yield piece
    finally:
        await asyncio.to_thread(file.close)
