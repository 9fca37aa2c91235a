"""Every setting, from a TOML file and `REXEC_…` in the environment (the environment wins; `__` goes into a group)."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from rexec.errors import Invalid
from rexec.models import TOKEN

_PREFIX = "REXEC_"
_BENCHES = "REXEC_BENCH_"
_ENGINES = ("unix://", "tcp://", "http://", "https://", "ssh://")
_MIB = 1 << 20
_DAY = 86_400
_SESSION = 180_000
"""The 50 hours of the page."""


def _split(value: Any) -> Any:
    """`a, b` in the environment is a list as well."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def read_settings() -> Settings:
    """From the environment and the file. Raises `Invalid` with a line for each setting that is wrong."""
    wrong = unknown_variables(os.environ)
    if not wrong:
        try:
            return Settings()
        except ValidationError as error:
            wrong = [f"setting {'.'.join(map(str, found['loc']))}: {_told(found)}" for found in error.errors()]
        except (OSError, ValueError) as error:
            wrong = [f"settings: {error}"]
    raise Invalid("\n".join(f"rexec: {sentence}" for sentence in wrong), code="wrong_settings")


def _told(found: Mapping[str, Any]) -> str:
    name = str(found["loc"][0])
    if found["type"] == "extra_forbidden" and len(found["loc"]) == 1:
        near = difflib.get_close_matches(name, Settings.model_fields, 1, 0)
        return f"there is none of this name; the nearest one is {near[0]}"
    return str(found["msg"]).removeprefix("Value error, ")


def unknown_variables(names: Iterable[str]) -> list[str]:
    """A sentence for each `REXEC_…` that is no setting: a slip of the pen must not pass in silence."""
    known = [f"{_PREFIX}{name.upper()}" for name in ("config", *Settings.model_fields)]
    told = []
    for name in sorted(names):
        upper = name.upper()
        if upper.startswith(_PREFIX) and not upper.startswith(_BENCHES) and upper.partition("__")[0] not in known:
            near = difflib.get_close_matches(upper.partition("__")[0], known, 1, 0)
            told.append(f"{name} is not a setting; the nearest one is {near[0]}")
    return told


def _default_data_dir() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/rexec")
    return Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local/share")) / "rexec"


Texts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_split)]


class Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Tier(Group):
    """What a plan allows. `session_seconds` None: containers do not expire. `containers` None: no limit."""

    containers: int | None
    memory_mb: int
    memory_mb_max: int
    cpu_millis: int
    cpu_millis_max: int
    disk_mb: int
    disk_mb_max: int
    session_seconds: int | None = None
    creates_per_minute: int | None
    requests_per_minute: int | None
    sockets: int
    terminals: int = 20
    idle_terminal_seconds: int = _DAY
    idle_seconds: int | None = None
    """A container that nobody used for so long is stopped; None: never."""


def _tier(
    containers: int, memory: tuple[int, int], cpu: tuple[int, int], disk: tuple[int, int], session: int | None,
    creates: int, requests: int, sockets: int,
) -> Tier:  # fmt: skip
    return Tier(
        containers=containers, memory_mb=memory[0], memory_mb_max=memory[1], cpu_millis=cpu[0], cpu_millis_max=cpu[1],
        disk_mb=disk[0], disk_mb_max=disk[1], session_seconds=session, creates_per_minute=creates,
        requests_per_minute=requests, sockets=sockets,
    )  # fmt: skip


def _tiers() -> dict[str, Tier]:
    return {
        "guest": _tier(1, (512, 512), (500, 500), (2048, 2048), _SESSION, 10, 600, 20),
        "free": _tier(5, (2048, 4096), (2000, 4000), (10240, 16384), _SESSION, 30, 1200, 50),
        "pro": _tier(10, (4096, 8192), (4000, 8000), (20480, 40960), None, 120, 6000, 200),
        "enterprise": _tier(20, (8192, 16384), (8000, 16000), (51200, 102400), None, 600, 6000, 500),
    }


class CatalogueEntry(Group):
    """One more image that is offered by name."""

    name: str
    aliases: tuple[str, ...] = ()
    description: str = ""


class ImageSettings(Group):
    mirrors: tuple[str, ...] = ()
    private_registries: tuple[str, ...] = ()
    largest_bytes: int = 20 << 30
    pull_timeout: float = 900
    pulls_at_once: int = 4
    pulls_per_user: int = 2
    extra: tuple[CatalogueEntry, ...] = ()
    debian_mirror: str | None = None
    ubuntu_mirror: str | None = None
    build: bool = True


class LayerSettings(Group):
    """How roles are baked."""

    recipes: Path | None = None
    """A folder of recipes instead of the packaged ones."""
    mirror: str | None = None
    """Where downloads are had when upstream does not have them: each at `<mirror>/<host>/<path>`."""
    downloads_mb: int = Field(default=4096, ge=64)
    """How much of what was downloaded is kept for the next bake."""
    memory_mb: int = Field(default=2048, ge=256)
    disk_mb: int = Field(default=16_384, ge=1024)
    at_once: int = Field(default=2, ge=1)
    unused_days: int = Field(default=30, ge=1)


class NetworkSettings(Group):
    allow: tuple[str, ...] = ()
    resolvers: tuple[str, ...] = ()
    subnet: str | None = None
    mtu: int | None = None


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, populate_by_name=True
    )

    bind: str = "127.0.0.1:8080"
    data_dir: Path = Field(default_factory=_default_data_dir)
    database_url: SecretStr | None = None
    admin_token: SecretStr | None = None
    first_run_check: bool = True
    docker_host: str | None = Field(default=None, validation_alias=AliasChoices("REXEC_DOCKER_HOST", "DOCKER_HOST"))
    default_image: str = "debian:bookworm"
    allowed_origins: Texts = ()
    allowed_hosts: Texts = ()
    """Names besides its own by which a server on a loopback address may be called: a page elsewhere could have its own
    name resolve to it."""
    trusted_proxies: Networks = ()
    public_url: str | None = None
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    shell_bundle: Path | None = None
    guest_dir: Path | None = None
    """Where the guests' sockets are; `guests` in the data directory. Servers of one database on one host share it."""
    upload_limit: int = 100 * _MIB
    body_limit: int = _MIB
    logins_per_minute: int = 60
    default_tier: str = "free"
    guest_accounts: bool = True
    guest_seconds: int = _SESSION
    tiers: dict[str, Tier] = Field(default_factory=_tiers)
    images: ImageSettings = ImageSettings()
    layers: LayerSettings = LayerSettings()
    network: NetworkSettings = NetworkSettings()
    workers: int = Field(default=16, ge=1, le=256)
    guest_timeout: float = 30
    stop_grace: float = 5
    sweep_interval: float = 60
    event_days: int = 7
    events_per_user: int = 10_000
    error_seconds: int = _DAY
    quarantine_days: float = 30
    """How long objects of ours that no container is known for are kept, stopped."""

    @field_validator("bind")
    @classmethod
    def _an_address(cls, value: str) -> str:
        host, colon, port = value.rpartition(":")
        if not host or not colon or not port.isdecimal() or int(port) > 65535:
            raise ValueError("must be host:port with a port up to 65535, as 127.0.0.1:8080")
        return value

    @field_validator("admin_token")
    @classmethod
    def _a_token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(TOKEN, value.get_secret_value()):
            raise ValueError("must be rexec_ and 64 hexadecimal digits, as from: echo rexec_$(openssl rand -hex 32)")
        return value

    @field_validator("docker_host")
    @classmethod
    def _an_engine(cls, value: str | None) -> str | None:
        if value and not value.startswith(_ENGINES):
            raise ValueError("must be a URL, as unix:///var/run/docker.sock or tcp://10.0.0.5:2375")
        return value

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _networks(cls, value: Any) -> Any:
        return tuple(ip_network(text, strict=False) for text in _split(value))

    @field_validator("tiers", mode="before")
    @classmethod
    def _over_the_defaults(cls, value: Any) -> Any:
        """A tier in the settings changes what it names and keeps the rest."""
        tiers: dict[str, Any] = {name: tier.model_dump() for name, tier in _tiers().items()}
        for name, wanted in dict(value).items():
            given = wanted.model_dump() if isinstance(wanted, Tier) else wanted
            tiers[name] = {**tiers.get(name, {}), **given}
        return tiers

    @property
    def host(self) -> str:
        return self.bind.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.bind.rpartition(":")[2])

    @property
    def database(self) -> str:
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.data_dir.absolute()}/rexec.db"

    def masked(self) -> dict[str, Any]:
        """All of it as JSON, secrets and passwords in URLs as `***`."""
        shown = self.model_dump(mode="json")
        for name, field in type(self).model_fields.items():
            if "SecretStr" in str(field.annotation) and shown[name] is not None:
                shown[name] = "***"
        return shown

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        named = os.environ.get("REXEC_CONFIG")
        file = Path(named) if named else Path(os.environ.get("REXEC_DATA_DIR", _default_data_dir())) / "rexec.toml"
        if named and not file.is_file():
            raise FileNotFoundError(f"REXEC_CONFIG names {file}, which is not there")
        try:
            written = TomlConfigSettingsSource(settings_cls, toml_file=file)
        except TOMLDecodeError as error:
            raise ValueError(f"{file}: {error}") from error
        return (init_settings, env_settings, written)
