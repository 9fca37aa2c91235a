"""Recipes of roles: one TOML file each, read and checked here. docs/roles.md says what may stand in them."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rexec.errors import Broken, Invalid

Manager = Literal["apt", "apk", "pacman", "dnf"]
MANAGERS: tuple[Manager, ...] = ("apt", "apk", "pacman", "dnf")
PACKAGED = Path(__file__).parents[1] / "recipes"
_FORMAT = 1
"""Part of every fingerprint: grows when the same recipe comes to mean another layer."""
_MUSL: Manager = "apk"

Name = Annotated[str, Field(min_length=1, max_length=64)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Download(_Part):
    """An archive that is verified, then unpacked into the container."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s?#]+$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    into: Annotated[str, Field(pattern=r"^/.+$")]
    beneath: str = ""
    """Only what lies beneath this folder of the archive, without its name."""
    inner: str | None = None
    """The archive inside the archive that is meant."""
    arch: Literal["amd64", "arm64"] | None = None
    libc: Literal["glibc", "musl"] | None = None

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]

    def fits(self, manager: Manager, architecture: str) -> bool:
        libc = "musl" if manager == _MUSL else "glibc"
        return self.arch in (None, architecture) and self.libc in (None, libc)


class Packages(_Part):
    """Of the distribution, by package manager."""

    apt: tuple[Name, ...] = ()
    apk: tuple[Name, ...] = ()
    pacman: tuple[Name, ...] = ()
    dnf: tuple[Name, ...] = ()
    seconds: Annotated[float, Field(gt=0)] = 20
    timeout: Annotated[float, Field(gt=0)] = 900

    def of(self, manager: Manager) -> tuple[str, ...]:
        wanted: tuple[str, ...] = getattr(self, manager)
        return wanted


class Step(_Part):
    name: Name
    managers: tuple[Manager, ...] = MANAGERS
    provides: tuple[Name, ...] = ()
    """The tools that are missing when `optional` downloads cannot be had."""
    optional: bool = False
    downloads: tuple[Download, ...] = ()
    script: str = ""
    seconds: Annotated[float, Field(gt=0)] = 5
    """How long it usually takes, for the progress."""
    timeout: Annotated[float, Field(gt=0)] = 300


class Applied(_Part):
    """What of a recipe concerns one kind of image; two images with the same are baked in the same way."""

    role: Name
    manager: Manager
    packages: tuple[Name, ...]
    steps: tuple[Step, ...]
    tools: Mapping[str, str]
    limits: Packages

    @property
    def fingerprint(self) -> str:
        """Of all that decides what the layer holds; how long things take does not."""
        hidden = {"seconds", "timeout", "managers"}
        content = {
            "format": _FORMAT, "role": self.role, "manager": self.manager, "packages": self.packages,
            "tools": dict(self.tools), "steps": [step.model_dump(exclude=hidden) for step in self.steps],
        }  # fmt: skip
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


class Recipe(_Part):
    role: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
    order: int = 100
    description: str
    size_mb: Annotated[int, Field(ge=0)]
    """About how much larger an image gets."""
    tools: Mapping[Name, str] = {}
    """What is promised, and the command that proves it."""
    packages: Packages = Packages()
    steps: tuple[Step, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [step.name for step in self.steps]
        if len(set(names)) < len(names) or "packages" in names:
            raise ValueError("steps need names of their own, and `packages` is taken")
        for step in self.steps:
            if unknown := set(step.provides) - set(self.tools):
                raise ValueError(f"the step {step.name} provides what is not promised: {', '.join(sorted(unknown))}")
            if step.optional and not (step.provides and step.downloads):
                raise ValueError(f"the optional step {step.name} needs downloads, and the tools it provides")
        return self

    @property
    def is_empty(self) -> bool:
        """Nothing to bake: the image as it is."""
        return not (self.tools or self.steps or any(self.packages.of(manager) for manager in MANAGERS))

    def applied(self, manager: Manager, architecture: str) -> Applied:
        """Raises `Broken` (`setup_failed`) when a step that must be has no download for such an image."""
        steps = []
        for step in self.steps:
            if manager in step.managers:
                fitting = tuple(each for each in step.downloads if each.fits(manager, architecture))
                if step.downloads and not fitting and not step.optional:
                    why = f"the role {self.role} has nothing for {architecture} with {manager}: step `{step.name}`"
                    raise Broken(why, code="setup_failed", step=step.name)
                steps.append(step.model_copy(update={"downloads": fitting}))
        return Applied(
            role=self.role, manager=manager, packages=self.packages.of(manager), steps=tuple(steps),
            tools=self.tools, limits=self.packages,
        )  # fmt: skip


def read_recipes(folder: Path | None = None) -> dict[str, Recipe]:
    """Every `<role>.toml` of the folder (else the packaged ones), in the order in which they are offered. Raises
    `Invalid` (`invalid_recipe`) naming the file and what is wrong."""
    files = sorted((folder or PACKAGED).glob("*.toml"))
    found = [read_recipe(file) for file in files]
    return {recipe.role: recipe for recipe in sorted(found, key=lambda recipe: (recipe.order, recipe.role))}


def read_recipe(file: Path) -> Recipe:
    try:
        content: dict[str, Any] = tomllib.loads(file.read_text())
        return Recipe(role=file.stem, **content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _wrong(file, f"{where}: {first['msg']}" if where else first["msg"]) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError) as error:
        raise _wrong(file, str(error)) from error


def _wrong(file: Path, why: str) -> Invalid:
    return Invalid(f"the recipe {file.name} is wrong: {why}", code="invalid_recipe")
