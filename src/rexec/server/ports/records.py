"""The records that cross the seams: what the core, the store and the adapters say to one another."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal


class Status(StrEnum):
    """Where a container is. All but `DELETED` are on the wire."""

    CREATING = "creating"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    STOPPED = "stopped"
    STARTING = "starting"
    ERROR = "error"
    DELETED = "deleted"


class Target(StrEnum):
    """Where a container should be. Users, expiry, idleness and failures write it; only the reconciler acts on it."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    DELETED = "deleted"


class Stage(StrEnum):
    """How far a creation has come."""

    VALIDATING = "validating"
    PULLING = "pulling"
    CREATING = "creating"
    STARTING = "starting"
    CONFIGURING = "configuring"
    READY = "ready"
    ERROR = "error"


class Reason(StrEnum):
    """Why a container has the status it has."""

    USER = "user"
    EXPIRED = "expired"
    IDLE = "idle"
    EXITED = "exited"
    KILLED = "killed"
    LOST = "lost"
    OUT_OF_MEMORY = "out_of_memory"
    DISK_FULL = "disk_full"
    IMAGE_NOT_FOUND = "image_not_found"
    PULL_FAILED = "pull_failed"
    SETUP_FAILED = "setup_failed"
    ENGINE_ERROR = "engine_error"
    ENGINE_RESTARTED = "engine_restarted"
    RECREATED = "recreated"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a container may use. `memory_mb` excludes swap (there is none), `cpu_millis` 1000 = one core,
    `disk_mb` is writable space on top of the image."""

    memory_mb: int
    cpu_millis: int
    disk_mb: int
    pids: int = 512


@dataclass(frozen=True, slots=True)
class Enforced:
    """Which of a container's limits this host really keeps."""

    memory: bool = False
    cpu: bool = False
    pids: bool = False
    disk: bool = False


@dataclass(frozen=True, slots=True)
class ContainerRow:
    """One container as the store keeps it. Times are aware UTC."""

    id: str
    user_id: str
    name: str
    image: str
    """Catalogue spelling (`ubuntu:24.04`) or `custom`."""
    custom_image: str | None
    role: str | None
    shell: dict[str, Any]
    limits: Limits
    environment: bytes
    """Encrypted JSON object; `core.secrets` seals and opens it."""
    environment_names: tuple[str, ...]
    labels: dict[str, str]
    user: Literal["root", "user"]
    status: Status
    target: Target
    stage: Stage
    progress: int
    reason: str | None
    message: str | None
    enforced: Enforced
    degraded: tuple[str, ...]
    """What its role promises and this container lacks, each a sentence for people."""
    engine: str
    host: str
    engine_key: str
    """What the engine object is named and labelled by; never the user's text."""
    engine_id: str | None
    ip_address: str | None
    created_at: datetime
    started_at: datetime | None
    last_used_at: datetime | None
    expires_at: datetime | None
    deleted_at: datetime | None
    """When the user deleted it: invisible and uncounted from then on; the engine object may outlive it briefly."""
    settled_at: datetime | None
    """When it last reached its target; error rows are removed a day after."""
    attempts: int
    """Consecutive failed actions of the reconciler; reset by a transition."""
    version: int
    """Grows with every write; updates match on it."""
    claimed_by: str | None
    claimed_until: datetime | None


@dataclass(frozen=True, slots=True)
class EventRow:
    """One entry of a user's event log. `seq` counts per user from 1 without holes."""

    user_id: str
    seq: int
    type: str
    container_id: str | None
    data: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class UserRow:
    id: str
    username: str
    email: str | None
    tier: str
    is_admin: bool
    is_guest: bool
    created_at: datetime
    expires_at: datetime | None
    """A guest's end: its containers never live past it."""
    disabled_at: datetime | None
    last_seq: int
    deleted_at: datetime | None = None
    """It cannot come back, and its name is free."""


@dataclass(frozen=True, slots=True)
class TokenRow:
    """An API token. Only the SHA-256 of its text is kept."""

    id: str
    user_id: str
    name: str
    digest: bytes
    prefix: str
    scopes: frozenset[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A sign-in. Its access tokens are short JWTs that name it; `refresh_digest` is the SHA-256 of the refresh token
    that is valid now."""

    id: str
    user_id: str
    refresh_digest: bytes
    scopes: frozenset[str]
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime
    revoked_at: datetime | None
    user_agent: str | None
    token_id: str | None = None
    """The API token it was opened with, which it does not outlive."""


@dataclass(frozen=True, slots=True)
class IdempotencyRow:
    """One remembered creating POST. `answer` is None while it runs. `subject` is the id of what it created. While it
    runs, the server that works on it renews `claimed_until`."""

    user_id: str
    key: str
    path: str
    body_digest: bytes
    status: int | None
    answer: dict[str, Any] | None
    secret: bool
    subject: str | None
    created_at: datetime
    claimed_by: str | None = None
    claimed_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, and what its token lets it do."""

    user_id: str
    username: str
    tier: str
    is_admin: bool
    is_guest: bool
    scopes: frozenset[str]
    expires_at: datetime | None
    """When the account ends (guests)."""
    session_id: str | None = None
    token_id: str | None = None
    ends_at: datetime | None = None
    """When its token, its session or its account ends, whichever comes first."""


# --- engines -------------------------------------------------------------------------------------------------------


class Phase(StrEnum):
    """What an engine sees of one of its objects."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    EXITED = "exited"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Observation:
    """What an engine says it sees of the object named by `engine_key`."""

    engine_key: str
    phase: Phase
    engine_id: str | None = None
    ip_address: str | None = None
    exit_code: int | None = None
    out_of_memory: bool = False
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: str | None = None
    enforced: Enforced = Enforced()
    image: str | None = None
    limits: Limits | None = None
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Image:
    """A local image. `ref` is what was asked for, `digest` the engine's id of its content."""

    ref: str
    digest: str
    size_bytes: int
    architecture: str
    environment: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Spec:
    """What an engine needs to start a container: nothing in it is the user's own text but the image."""

    engine_key: str
    image: str
    limits: Limits
    hostname: str


@dataclass(frozen=True, slots=True)
class PullProgress:
    """Bytes so far over all layers known so far; `layer` is the one that moved. Of a build: thousandths of the whole,
    `layer` is the step, `message` what it does."""

    layer: str | None
    current: int
    total: int
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the engine's host has, and what it can keep containers to."""

    cpus: int
    memory_mb: int
    disk_total_mb: int
    disk_free_mb: int
    architecture: str
    enforced: Enforced
    degraded: tuple[str, ...] = ()
    """What cannot be kept here, each a sentence for people."""


class Feature(StrEnum):
    PAUSE = "pause"
    STATS = "stats"
    DISK_LIMIT = "disk_limit"
    COMMIT = "commit"
    LIVE_RESIZE = "live_resize"
    LOGS = "logs"


@dataclass(frozen=True, slots=True)
class Stats:
    """One reading. Byte counts are bytes; `cpu_percent` of one core over the time since the last reading."""

    cpu_percent: float
    cpu_usage_ns: int
    memory: int
    memory_limit: int
    memory_peak: int
    pids: int
    pids_limit: int
    disk_usage: int
    disk_limit: int
    net_rx: int
    net_tx: int
    disk_read: int = 0
    disk_write: int = 0


# --- the guest -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ExecRequest:
    """`argv` as it is run; a shell string is `["sh", "-c", …]` by then. `user` is a name or uid[:gid]."""

    argv: tuple[str, ...]
    cwd: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    user: str | None = None
    timeout: float = 60.0
    stdin: bytes = b""
    max_output: int = 1 << 20


@dataclass(frozen=True, slots=True)
class ExecResult:
    """`exit_code` is 128+n for a process killed by signal n, -1 when it timed out. `reason` is one of `exited`,
    `signaled`, `timed_out`, `out_of_memory`, `canceled`."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    timed_out: bool
    truncated: bool
    duration_ms: int
    reason: str = "exited"
    memory_peak: int | None = None


@dataclass(frozen=True, slots=True)
class TerminalOpen:
    """How an attachment wants its terminal. `epoch` and `since` together resume."""

    name: str = "main"
    cols: int = 80
    rows: int = 24
    role: Literal["editor", "viewer"] = "editor"
    new: bool = False
    epoch: str | None = None
    since: int | None = None
    user: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    """The container's environment, given to the shell if this attachment starts it."""
    shell: dict[str, Any] = field(default_factory=dict)
    """The container's shell options, likewise."""
    max_terminals: int = 20
    idle_seconds: int = 86_400
    """How long it lives silently when nobody is attached."""
