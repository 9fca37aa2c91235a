"""What goes on inside a container: commands, processes, terminals, files, ports, use."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from rexec.answers.answer import Answer, Time

_RESULT: dict[str, Any] = {
    "exit_code": 0, "exitCode": 0, "stdout": "hello\n", "stderr": "", "timed_out": False, "truncated": False,
    "duration_ms": 1, "reason": "exited",
}  # fmt: skip
_AT = "2030-01-15T10:30:01.000000Z"
_ENTRY: dict[str, Any] = {
    "name": "notes.txt", "path": "/home/user/notes.txt", "size": 12, "mode": "0644", "type": "file", "mod_time": _AT,
    "modTime": _AT, "is_dir": False, "isDir": False, "uid": 0, "gid": 0, "user": "root", "group": "root",
}  # fmt: skip


class Result(Answer):
    """`…_b64` where a stream is not UTF-8."""

    example: ClassVar[Any] = _RESULT

    exit_code: int
    exit_code_too: int = Field(alias="exitCode")
    stdout: str
    stdout_b64: str | None = None
    stderr: str
    stderr_b64: str | None = None
    timed_out: bool
    truncated: bool
    duration_ms: int
    reason: str
    memory_peak: int | None = None


class Late(Result):
    """A command that took too long, with what came of it so far."""

    example: ClassVar[Any] = {
        **_RESULT, "exit_code": -1, "exitCode": -1, "timed_out": True, "duration_ms": 60000, "reason": "timed_out",
        "error": "the command took longer than 60 s", "code": "timed_out", "request_id": "8f14e45fceea167a",
    }  # fmt: skip

    error: str
    code: str
    request_id: str


class Process(Answer):
    example: ClassVar[Any] = {
        "id": "9f86d081884c7d65", "pid": 42, "argv": ["sleep", "3600"], "user": "root", "cwd": "/home/user",
        "started_at": _AT, "running": True, "stdout_offset": 0, "stderr_offset": 0,
    }  # fmt: skip

    id: str
    pid: int
    argv: list[str]
    user: str
    cwd: str
    started_at: Time
    running: bool
    exit_code: int | None = None
    reason: str | None = None
    memory_peak: int | None = None
    stdout_offset: int
    stderr_offset: int


class Processes(Answer):
    example: ClassVar[Any] = {"processes": [Process.example]}

    processes: list[Process]


class Nothing(Answer):
    """It is done."""

    example: ClassVar[Any] = {}


class Ended(Answer):
    code: int
    reason: str


class Terminal(Answer):
    name: str
    epoch: str
    pid: int
    command: str
    cols: int
    rows: int
    offset: int
    oldest: int
    attached: int
    editors: int
    created_at: Time
    last_used_at: Time
    exited: Ended | None = None


class Terminals(Answer):
    example: ClassVar[Any] = {
        "terminals": [{"name": "main", "epoch": "b9a3f1c2", "pid": 57, "command": "zsh", "cols": 80, "rows": 24,
                       "offset": 1280, "oldest": 0, "attached": 1, "editors": 1, "created_at": _AT,
                       "last_used_at": _AT}],
    }  # fmt: skip

    terminals: list[Terminal]


class TerminalClosed(Answer):
    example: ClassVar[Any] = {"message": "terminal closed", "name": "main"}

    message: str
    name: str


class Entry(Answer):
    """`…_b64` where a name is not UTF-8."""

    example: ClassVar[Any] = _ENTRY

    name: str
    name_b64: str | None = None
    path: str
    path_b64: str | None = None
    size: int
    mode: str
    type: Literal["file", "dir", "symlink", "fifo", "socket", "char", "block"]
    mod_time: Time
    is_dir: bool
    is_dir_too: bool = Field(alias="isDir")
    mod_time_too: Time = Field(alias="modTime")
    uid: int
    gid: int
    user: str | None = None
    group: str | None = None
    target: str | None = None
    target_b64: str | None = None


class Changed(Entry):
    example: ClassVar[Any] = {"message": "file uploaded", **_ENTRY}

    message: str


class Folder(Answer):
    example: ClassVar[Any] = {"path": "/home/user", "files": [_ENTRY], "truncated": False, "count": 1}

    path: str
    path_b64: str | None = None
    files: list[Entry]
    truncated: bool
    count: int


class Unpacked(Answer):
    example: ClassVar[Any] = {"entries": 3, "bytes": 4096}

    entries: int
    bytes: int


class FileDeleted(Answer):
    example: ClassVar[Any] = {"message": "deleted", "path": "/home/user/notes.txt"}

    message: str
    path: str
    path_b64: str | None = None


class Port(Answer):
    port: int
    address: str
    family: str
    process: str | None = None
    pid: int | None = None
    user: str | None = None


class Ports(Answer):
    example: ClassVar[Any] = {
        "ports": [{"port": 8000, "address": "127.0.0.1", "family": "ipv4", "process": "python3", "pid": 61,
                   "user": "root"}],
    }  # fmt: skip

    ports: list[Port]


class Stats(Answer):
    """Bytes; -1 for what cannot be read or has no limit. `cpu_percent` of one core since the last reading."""

    example: ClassVar[Any] = {
        "cpu_percent": 0.4, "cpu": 0.4, "cpu_usage_ns": 120000000, "memory": 9437184, "memory_limit": 2147483648,
        "memory_peak": 18874368, "pids": 37, "pids_limit": 512, "disk_usage": 4096, "disk_limit": 10737418240,
        "net_rx": 1024, "net_tx": 512, "disk_read": 0, "disk_write": 4096,
    }  # fmt: skip

    cpu_percent: float
    cpu: float
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
    disk_read: int
    disk_write: int
