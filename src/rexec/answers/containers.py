"""Containers."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from rexec.answers.answer import Answer, Time

CREATING = "Container is being created. This may take a moment if the image needs to be pulled."
_ID = "550e8400-e29b-41d4-a716-446655440000"
_ACCEPTED: dict[str, Any] = {
    "id": _ID, "db_id": _ID, "user_id": "usr_5f2b8c1d9e", "name": "swift-lion-742", "image": "debian:bookworm",
    "status": "creating", "stage": "validating", "progress": 0, "created_at": "2030-01-15T10:30:00.000000Z",
    "started_at": None, "last_used_at": None, "idle_seconds": 0, "reason": None, "message": "Checking the request",
    "resources": {"memory_mb": 2048, "cpu_shares": 2000, "disk_mb": 10240},
    "enforced": {"memory": True, "cpu": True, "pids": True, "disk": False}, "degraded": [],
    "labels": {"team": "blue"},
    "environment": {"GREETING": "***"}, "user": "root", "container_id": None, "ip_address": None,
    "shell": {"enhanced": True, "theme": "rexec", "autosuggestions": True, "syntax_highlight": True,
              "history_search": True, "git_aliases": True, "system_stats": False, "use_tmux": False},
    "expires_at": "2030-01-17T12:30:00.000000Z", "session_limit_seconds": 180000,
}  # fmt: skip
_RUNNING = {
    **_ACCEPTED, "status": "running", "stage": "ready", "progress": 100, "message": None,
    "started_at": "2030-01-15T10:30:01.000000Z", "ip_address": "10.88.0.5", "container_id": "4f0c" * 16,
}  # fmt: skip

Status = Literal["creating", "running", "paused", "stopping", "stopped", "starting", "error"]
Stage = Literal["validating", "pulling", "creating", "starting", "configuring", "ready", "error"]


class Resources(Answer):
    memory_mb: int
    cpu_shares: int
    disk_mb: int


class Enforced(Answer):
    """Which of the limits this host really keeps."""

    memory: bool
    cpu: bool
    pids: bool
    disk: bool


class Shell(Answer):
    """All options with their effective values."""

    enhanced: bool
    theme: str
    autosuggestions: bool
    syntax_highlight: bool
    history_search: bool
    git_aliases: bool
    system_stats: bool
    use_tmux: bool


class Container(Answer):
    example: ClassVar[Any] = _RUNNING

    id: str
    db_id: str
    user_id: str
    name: str
    image: str
    custom_image: str | None = None
    role: str | None = None
    status: Status
    stage: Stage
    progress: int = Field(ge=0, le=100)
    reason: str | None
    message: str | None
    created_at: Time
    started_at: Time | None
    last_used_at: Time | None
    idle_seconds: int = Field(ge=0)
    resources: Resources
    enforced: Enforced
    degraded: list[str] = Field(description="What its role promises and it lacks, each with the reason.")
    labels: dict[str, str]
    environment: dict[str, Literal["***"]]
    shell: Shell
    user: Literal["root", "user"]
    container_id: str | None
    ip_address: str | None
    expires_at: Time | None = None
    session_limit_seconds: int | None = None


class Accepted(Container):
    """A creation that has begun."""

    example: ClassVar[Any] = {**_ACCEPTED, "async": True, "message": CREATING}

    being_made: Literal[True] = Field(alias="async")


class Containers(Answer):
    """`limit` null: none."""

    example: ClassVar[Any] = {"containers": [_RUNNING], "count": 1, "limit": 5, "next_cursor": "WyIyMDMwLTAxLTE1Il0="}

    containers: list[Container]
    count: int
    limit: int | None
    next_cursor: str | None = None


class Moved(Answer):
    example: ClassVar[Any] = {
        "message": "container stopped", "id": _ID, "name": "swift-lion-742", "status": "stopped",
    }  # fmt: skip

    message: str
    id: str
    name: str
    status: Status


class Started(Moved):
    """`recreated`: the engine had lost it."""

    example: ClassVar[Any] = {
        "message": "container recreated and started", "id": _ID, "name": "swift-lion-742", "status": "running",
        "recreated": True, "data_kept": False,
    }  # fmt: skip

    recreated: bool = False
    data_kept: bool = True


class Deleted(Answer):
    example: ClassVar[Any] = {"message": "container deleted", "id": _ID, "db_id": _ID, "name": "swift-lion-742"}

    message: str
    id: str
    db_id: str
    name: str


class Event(Answer):
    """`data`: a container, or `{id, stage, message, progress, detail?}` for `container_progress`."""

    example: ClassVar[Any] = {
        "type": "container_progress", "seq": 412, "timestamp": "2030-01-15T10:30:00.250000Z",
        "data": {"id": _ID, "stage": "pulling", "message": "Pulling image...", "progress": 15},
    }  # fmt: skip

    type: str
    data: dict[str, Any]
    seq: int
    timestamp: Time


class History(Answer):
    example: ClassVar[Any] = {"events": [Event.example], "count": 1}

    events: list[Event]
    count: int


class Image(Answer):
    """`present` and `size` are null where there is nothing to look for; `available`: this host can run it."""

    name: str
    aliases: list[str]
    category: str
    description: str
    available: bool
    present: bool | None = None
    size: int | None = None


class Images(Answer):
    example: ClassVar[Any] = {
        "images": [{"name": "debian:bookworm", "aliases": ["debian", "debian-12"], "category": "linux",
                    "description": "Debian 12", "available": True, "present": True, "size": 117_000_000}], "count": 1,
    }  # fmt: skip

    images: list[Image]
    count: int


class Baked(Answer):
    """A role that is installed on an image already: a container starts from it at once."""

    image: str
    size: int
    missing: dict[str, str] = Field(description="Tools that could not be had, with the reason.")


class Role(Answer):
    """`size_mb`: about how much larger it makes an image."""

    name: str
    description: str
    tools: list[str]
    size_mb: int
    baked: list[Baked]


class Roles(Answer):
    example: ClassVar[Any] = {
        "roles": [
            {
                "name": "node", "description": "Node.js LTS with npm, yarn and nvm", "size_mb": 260,
                "tools": ["node", "npm", "yarn", "nvm"],
                "baked": [{"image": "debian:bookworm", "size": 391000000, "missing": {}}],
            }
        ],
        "count": 1,
    }  # fmt: skip

    roles: list[Role]
    count: int
