"""What we ask of Docker for a container, and how we read what it says of one. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from rexec.errors import Broken, Invalid
from rexec.server.ports.records import Enforced, Image, Limits, Observation, Phase, Spec
from rexec.server.ports.reference import LOCAL_REGISTRY

INSTALLATION = "rexec.installation"
ENGINE_KEY = "rexec.engine_key"
BUILD, BUILDER = "rexec.build", "rexec.builder"
"""Instead of an engine key on the container of a build, which is nobody's: its key, and which server's it is."""
LAYERS = f"{LOCAL_REGISTRY}/role"
ENFORCED = "rexec.enforced"
"""Which limits this container was really given, since only an inspection tells and a list does not."""

GUEST_BINARY = "/.rexec/bin/rexec-guest"
CAPABILITIES = (
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETUID",
    "SYS_PTRACE",
)
LOG = {"Type": "local", "Config": {"max-size": "1m", "max-file": "1", "compress": "false", "mode": "non-blocking"}}
_PLAIN_LOG = {"Type": "k8s-file", "Config": {"max-size": "1m"}}
STOP_SIGNAL = "SIGTERM"

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", re.ASCII)
_MIB = 1 << 20
_PHASES = {
    "created": Phase.CREATED,
    "running": Phase.RUNNING,
    "restarting": Phase.RUNNING,
    "stopping": Phase.RUNNING,
    "paused": Phase.PAUSED,
    "exited": Phase.EXITED,
    "stopped": Phase.EXITED,
    "dead": Phase.EXITED,
    "removing": Phase.EXITED,
    "configured": Phase.CREATED,
    "initialized": Phase.CREATED,
}
_KILLED = 137
_READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
"""What Docker itself keeps from being written; a list of ours takes the place of its."""
_ENGINES_OWN = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
"""Files of the engine's host in every container, beyond the disk limit, where ours cannot take their place."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A host path, or a volume, seen read-only inside."""

    source: str
    target: str
    kind: Literal["bind", "volume"] = "bind"


@dataclass(frozen=True, slots=True)
class Blueprint:
    """All that decides what a container of one `spec` looks like to Docker."""

    spec: Spec
    installation: str
    image: str
    network: str
    enforced: Enforced
    mounts: tuple[Mount, ...]
    size_bytes: int | None
    """The writable layer's limit, where the storage driver has one."""
    volumes: tuple[str, ...] = ()
    """Declared VOLUMEs that the image could not be freed of: they become memory file systems."""
    dns: tuple[str, ...] = ()
    builder: str | None = None
    """Set on the container of a build."""
    local_logs: bool = True
    """Whether the engine has Docker's log driver `local`; Podman does not."""


def object_name(engine_key: str) -> str:
    check_key(engine_key)
    return f"rexec-{engine_key}"


def check_key(engine_key: str) -> None:
    """Keys become path names on the host, so that they are never taken on trust."""
    if not _KEY.fullmatch(engine_key):
        raise Invalid("not an engine key", code="engine_refused")


def creation(blueprint: Blueprint) -> dict[str, Any]:
    """The body of `POST /containers/create`. The guest is the first process; the image's own is never run."""
    return {
        "Image": blueprint.image,
        "Hostname": blueprint.spec.hostname,
        "Entrypoint": [GUEST_BINARY, "init"],
        "Cmd": [],
        "User": "0:0",
        "WorkingDir": "/",
        "Healthcheck": {"Test": ["NONE"]},
        "StopSignal": STOP_SIGNAL,
        "Labels": {INSTALLATION: blueprint.installation, ENFORCED: _told(blueprint.enforced), **_whose(blueprint)},
        "HostConfig": _host_config(blueprint),
        "NetworkingConfig": {"EndpointsConfig": {blueprint.network: {}}},
    }


def _whose(blueprint: Blueprint) -> dict[str, str]:
    if blueprint.builder is None:
        return {ENGINE_KEY: blueprint.spec.engine_key}
    return {BUILD: blueprint.spec.engine_key, BUILDER: blueprint.builder}


def _host_config(blueprint: Blueprint) -> dict[str, Any]:
    config: dict[str, Any] = {
        **resources(blueprint.spec.limits),
        "PidsLimit": blueprint.spec.limits.pids,
        "CapDrop": ["ALL"],
        "CapAdd": list(CAPABILITIES),
        "SecurityOpt": ["no-new-privileges"],
        "LogConfig": LOG if blueprint.local_logs else _PLAIN_LOG,
        "RestartPolicy": {"Name": "no"},
        "Init": False,
        "NetworkMode": blueprint.network,
        "IpcMode": "private",
        "Mounts": [
            {"Type": mount.kind, "Source": mount.source, "Target": mount.target, "ReadOnly": True}
            for mount in blueprint.mounts
        ],
    }
    if blueprint.size_bytes is not None:
        config["StorageOpt"] = {"size": str(blueprint.size_bytes)}
    if any(mount.kind == "volume" for mount in blueprint.mounts):
        config["ReadonlyPaths"] = [*_READONLY, *_ENGINES_OWN]
    if blueprint.volumes:
        config["Tmpfs"] = dict.fromkeys(blueprint.volumes, f"rw,exec,mode=0755,size={blueprint.spec.limits.disk_mb}m")
    if blueprint.dns:
        config["Dns"] = list(blueprint.dns)
    return config


def resources(limits: Limits) -> dict[str, Any]:
    """Memory and CPU as `create` and `update` take them; the same figure for swap means none."""
    return {
        "Memory": limits.memory_mb * _MIB,
        "MemorySwap": limits.memory_mb * _MIB,
        "NanoCpus": limits.cpu_millis * 1_000_000,
    }


def inspected(answer: Mapping[str, Any]) -> Observation:
    """From `GET /containers/{id}/json`."""
    state = answer["State"]
    labels = answer["Config"].get("Labels") or {}
    engine_key = labels.get(ENGINE_KEY) or labels.get(BUILD, "")
    phase = _phase(str(state.get("Status", "")), engine_key)
    ended = phase is Phase.EXITED
    killed_for_memory = bool(state.get("OOMKilled"))
    return Observation(
        engine_key=engine_key,
        phase=phase,
        engine_id=answer["Id"],
        ip_address=_address(answer),
        exit_code=state.get("ExitCode") if ended else None,
        # The flag stays up after a child was killed, whatever ended the container later: see `deaths`.
        out_of_memory=killed_for_memory and (not ended or state.get("ExitCode") == _KILLED),
        started_at=_time(state.get("StartedAt")),
        finished_at=_time(state.get("FinishedAt")) if ended else None,
        error=state.get("Error") or None,
        enforced=_read(labels.get(ENFORCED, "")),
        image=(answer.get("Config") or {}).get("Image"),
        limits=_limits(answer.get("HostConfig") or {}),
        labels=dict(labels),
    )


def listed(answer: Mapping[str, Any]) -> Observation:
    """From one entry of `GET /containers/json`, which knows neither times nor exit codes."""
    labels = answer.get("Labels") or {}
    return Observation(
        engine_key=labels.get(ENGINE_KEY, ""),
        phase=_phase(str(answer.get("State", "")), labels.get(ENGINE_KEY, "")),
        engine_id=answer["Id"],
        ip_address=_address(answer),
        enforced=_read(labels.get(ENFORCED, "")),
        labels=dict(labels),
    )


def missing(engine_key: str) -> Observation:
    return Observation(engine_key=engine_key, phase=Phase.MISSING)


def described(ref: str, answer: Mapping[str, Any]) -> Image:
    """From `GET /images/{name}/json`."""
    pairs = (entry.partition("=") for entry in (answer.get("Config") or {}).get("Env") or [])
    return Image(
        ref=ref,
        digest=answer["Id"],
        size_bytes=int(answer.get("Size") or 0),
        architecture=str(answer.get("Architecture") or "unknown"),
        environment={name: value for name, _, value in pairs},
        labels=dict((answer.get("Config") or {}).get("Labels") or {}),
        created_at=_time(answer.get("Created")),
    )


def _limits(config: Mapping[str, Any]) -> Limits:
    """As `creation` wrote them; what Docker does not tell is the least that there is."""
    disk = int((config.get("StorageOpt") or {}).get("size") or 0)
    return Limits(
        memory_mb=int(config.get("Memory") or 0) // _MIB or 256,
        cpu_millis=int(config.get("NanoCpus") or 0) // 1_000_000 or 250,
        disk_mb=disk // _MIB or 1024,
        pids=int(config.get("PidsLimit") or 0) or 512,
    )


def _phase(status: str, engine_key: str) -> Phase:
    phase = _PHASES.get(status)
    if phase is None:
        raise Broken(f"the engine reports an unknown state of {engine_key}: {status!r}", code="engine_error")
    return phase


def _address(answer: Mapping[str, Any]) -> str | None:
    networks = (answer.get("NetworkSettings") or {}).get("Networks") or {}
    return next((entry["IPAddress"] for entry in networks.values() if entry and entry.get("IPAddress")), None)


def _time(text: str | None) -> datetime | None:
    """Docker writes nanoseconds, and the year 1 for never."""
    if not text or text.startswith("0001-"):
        return None
    whole, dot, rest = text.partition(".")
    if not dot:
        return datetime.fromisoformat(text)
    digits = re.match(r"[0-9]*", rest)
    length = digits.end() if digits else 0
    return datetime.fromisoformat(f"{whole}.{rest[:length][:6].ljust(6, '0')}{rest[length:]}")


def _told(enforced: Enforced) -> str:
    return ",".join(name for name in ("memory", "cpu", "pids", "disk") if getattr(enforced, name))


def _read(text: str) -> Enforced:
    names = text.split(",")
    return Enforced(memory="memory" in names, cpu="cpu" in names, pids="pids" in names, disk="disk" in names)
