"""What clients send, as the contract says it: strict, and closed to unknown keys."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

_LABELS, _ENVIRONMENT = 32, 64
_ENVIRONMENT_BYTES = 32 * 1024
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_SURROGATE = re.compile("[\x00\ud800-\udfff]")
NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
GUEST_NAME = "^[A-Za-z0-9_-]{2,30}$"
USER_NAME = "^[A-Za-z0-9_.@-]{2,64}$"
EMAIL = r"^[^@\s]+@[^@\s]+$"
PATH = "^/"
MODE = "^[0-7]{3,4}$"
TOKEN = "^rexec_[0-9a-f]{64}$"  # noqa: S105 (the form of one)


def _check_text(value: Any, field: str | None = None) -> None:
    if isinstance(value, str) and _SURROGATE.search(value):
        raise PydanticCustomError("text", "must not contain NUL or lone surrogates", {"field": field})
    if isinstance(value, list):
        for item in value:
            _check_text(item, field)


def _like(*examples: dict[str, Any]) -> ConfigDict:
    """Configuration of a body with these examples."""
    return ConfigDict(json_schema_extra={"examples": list(examples)})


class Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _clean(cls, value: Any) -> Any:
        if isinstance(value, dict):
            for key, item in value.items():
                _check_text(key)
                _check_text(item, key)
        return value


def _variables(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        _check_text(text)
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"has {name[:64]!r}, which is no name of a variable ([A-Za-z_][A-Za-z0-9_]*)")
    if len(value) > _ENVIRONMENT:
        raise ValueError(f"must have at most {_ENVIRONMENT} variables")
    if sum(len(name.encode()) + len(text.encode()) for name, text in value.items()) > _ENVIRONMENT_BYTES:
        raise ValueError(f"must have at most {_ENVIRONMENT_BYTES} bytes in all")
    return value


def _labels(value: dict[str, str]) -> dict[str, str]:
    if len(value) > _LABELS:
        raise ValueError(f"must have at most {_LABELS} labels")
    for name, text in value.items():
        _check_text(name)
        _check_text(text)
        if not 1 <= len(name) <= 63 or len(text) > 255:
            raise ValueError("must have keys of 1 to 63 characters and values of at most 255")
    return value


def _from_list(value: Any) -> Any:
    """`["A=b"]`, as some clients send it, is `{"A": "b"}`."""
    if not isinstance(value, list):
        return value
    if not all(isinstance(item, str) and "=" in item for item in value):
        raise ValueError("must be an object, or a list of NAME=value")
    return dict(item.split("=", 1) for item in value)


Environment = Annotated[dict[str, str], AfterValidator(_variables)]
ListedEnvironment = Annotated[dict[str, str], BeforeValidator(_from_list), AfterValidator(_variables)]
Labels = Annotated[dict[str, str], AfterValidator(_labels)]
Name = Annotated[str, Field(pattern=NAME)]


def _undotted(value: Any) -> Any:
    """`shell.theme`, as the page's generated example spells it, is `theme`."""
    if not isinstance(value, dict):
        return value
    plain = {key.removeprefix("shell.") if isinstance(key, str) else key: item for key, item in value.items()}
    if len(plain) != len(value):
        raise ValueError("gives an option twice")
    return plain


class ShellOptions(Body):
    enhanced: bool | None = None
    theme: Literal["rexec", "minimal", "powerlevel10k"] | None = None
    autosuggestions: bool | None = None
    syntax_highlight: bool | None = None
    history_search: bool | None = None
    git_aliases: bool | None = None
    system_stats: bool | None = None
    use_tmux: bool | None = None


class CreateContainer(Body):
    model_config = _like(
        {
            "image": "ubuntu:24.04",
            "name": "dev-environment",
            "role": "node",
            "memory_mb": 2048,
            "cpu_shares": 2000,
            "shell": {"enhanced": True, "theme": "rexec", "use_tmux": True},
        }
    )

    image: Annotated[str, Field(min_length=1, max_length=255, examples=["debian:bookworm"])]
    custom_image: Annotated[str | None, Field(max_length=512)] = None
    name: Name | None = None
    role: Annotated[str | None, Field(max_length=64)] = None
    shell: Annotated[ShellOptions | None, BeforeValidator(_undotted)] = None
    memory_mb: int | None = None
    cpu_shares: int | None = None
    disk_mb: int | None = None
    environment: Environment | None = None
    labels: Labels | None = None
    user: Literal["root", "user"] = "root"


class ChangeContainer(Body):
    model_config = _like({"name": "build-box", "labels": {"team": "blue"}, "memory_mb": 1024})

    name: Name | None = None
    labels: Labels | None = None
    memory_mb: int | None = None
    cpu_shares: int | None = None


class Renew(Body):
    model_config = _like({"seconds": 3600})

    seconds: Annotated[int | None, Field(ge=1, le=10 * 365 * 86_400)] = None


Argument = Annotated[str, Field(max_length=1 << 20)]
Command = Argument | Annotated[list[Argument], Field(min_length=1, max_length=4096)]


class RunCommand(Body):
    """`cmd`, `workdir` and `timeout_seconds` are other clients' spellings."""

    model_config = _like({"command": "echo $GREETING", "env": {"GREETING": "hello"}, "timeout": 10})

    command: Command = Field(validation_alias=AliasChoices("command", "cmd"), examples=["echo hello"])
    cwd: Annotated[str | None, Field(max_length=4096)] = Field(
        default=None, validation_alias=AliasChoices("cwd", "workdir")
    )
    env: ListedEnvironment | None = None
    user: Annotated[str | None, Field(min_length=1, max_length=64)] = None
    timeout: Annotated[float | int, Field(gt=0, le=300)] = Field(
        default=60, validation_alias=AliasChoices("timeout", "timeout_seconds")
    )
    stdin: str = ""
    detach: bool = False
    """Let it go on by itself: `/processes` has it. Then there is no time limit but one that is asked for."""

    def allowed(self, otherwise: float) -> float:
        """The time it may take where one was asked for."""
        return float(self.timeout) if "timeout" in self.model_fields_set else otherwise

    @model_validator(mode="before")
    @classmethod
    def _either(cls, value: Any) -> Any:
        """Clients that know both send an empty one of them."""
        if isinstance(value, dict) and {"command", "cmd"} <= value.keys():
            spare = "command" if value["cmd"] else "cmd"
            return {key: item for key, item in value.items() if key != spare}
        return value

    @property
    def argv(self) -> tuple[str, ...]:
        return ("sh", "-c", self.command) if isinstance(self.command, str) else tuple(self.command)


class StartProcess(RunCommand):
    model_config = _like({"command": ["sleep", "60"]})

    timeout: Annotated[float | int, Field(ge=0, le=30 * 86_400)] = Field(
        default=0, validation_alias=AliasChoices("timeout", "timeout_seconds")
    )


class SignalProcess(Body):
    model_config = _like({"signal": "TERM"})

    signal: str | int


class MakeDirectory(Body):
    model_config = _like({"path": "/home/user/project"})

    path: str | None = None
    path_b64: str | None = None
    mode: Annotated[str | None, Field(pattern=MODE)] = None
    user: Annotated[str | None, Field(max_length=64)] = None


class MoveFile(Body):
    model_config = _like({"from": "/home/user/a", "to": "/home/user/b"})

    source: str | None = Field(default=None, alias="from")
    source_b64: str | None = Field(default=None, alias="from_b64")
    to: str | None = None
    to_b64: str | None = None
    overwrite: bool = False


def decoded(text: str) -> bytes:
    """Base64, strictly; raises `ValueError`."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("must be base64") from error


class UploadFile(Body):
    model_config = _like({"path": "/home/user/hello.txt", "content": "aGVsbG8K"})

    path: Annotated[str, Field(min_length=1, max_length=4096)]
    content: str


class MakeTicket(Body):
    model_config = _like({"path": "/api/events"})

    path: Annotated[str, Field(pattern=PATH, max_length=2048)]


class MakeToken(Body):
    model_config = _like({"name": "laptop", "scopes": ["containers:read", "exec"], "expires_in": 86400})

    name: Annotated[str, Field(min_length=1, max_length=255)]
    scopes: list[str] | None = None
    expires_in: Annotated[int | None, Field(ge=1, le=10 * 365 * 86_400)] = None


class SignIn(Body):
    model_config = _like({"token": "rexec_" + "3f" * 32})

    token: Annotated[str, Field(min_length=1, max_length=4096)]
    cookie: bool = True


class Refresh(Body):
    model_config = _like({"refresh_token": "3f9c….kJ8s…"})

    refresh_token: Annotated[str, Field(min_length=1, max_length=4096)]


class MakeGuest(Body):
    model_config = _like({"username": "ann"})

    username: Annotated[str, Field(pattern=GUEST_NAME)]
    email: Annotated[str | None, Field(max_length=320, pattern=EMAIL)] = None


class MakeUser(Body):
    model_config = _like({"username": "ann", "email": "ann@example.com", "tier": "pro"})

    username: Annotated[str, Field(pattern=USER_NAME)]
    email: Annotated[str | None, Field(max_length=320)] = None
    tier: Annotated[str | None, Field(max_length=32)] = None
    is_admin: bool = False


class ChangeTier(Body):
    """What is left out stays. None: without a limit."""

    containers: Annotated[int | None, Field(ge=0, le=1_000_000)] = None
    memory_mb: Annotated[int, Field(ge=1, le=1 << 30)] = 0
    memory_mb_max: Annotated[int, Field(ge=1, le=1 << 30)] = 0
    cpu_millis: Annotated[int, Field(ge=1, le=1 << 30)] = 0
    cpu_millis_max: Annotated[int, Field(ge=1, le=1 << 30)] = 0
    disk_mb: Annotated[int, Field(ge=1, le=1 << 30)] = 0
    disk_mb_max: Annotated[int, Field(ge=1, le=1 << 30)] = 0
    session_seconds: Annotated[int | None, Field(ge=1, le=1 << 30)] = None
    creates_per_minute: Annotated[int | None, Field(ge=0, le=1 << 30)] = None
    requests_per_minute: Annotated[int | None, Field(ge=1, le=1 << 30)] = None
    sockets: Annotated[int, Field(ge=0, le=1 << 30)] = 0
    terminals: Annotated[int, Field(ge=0, le=1000)] = 0
    idle_terminal_seconds: Annotated[int, Field(ge=1, le=1 << 30)] = 0
    idle_seconds: Annotated[int | None, Field(ge=1, le=1 << 30)] = None


class ChangeUser(Body):
    model_config = _like({"tier": "pro"})

    tier: Annotated[str | None, Field(max_length=32)] = None
    disabled: bool | None = None
