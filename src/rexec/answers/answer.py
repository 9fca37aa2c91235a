"""What all answers share."""

from __future__ import annotations

from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, ClassVar, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""RFC 3339, UTC."""


class Answer(BaseModel):
    """More keys may come with a later version."""

    model_config = ConfigDict(strict=True, populate_by_name=True)
    example: ClassVar[Any] = None


@dataclass(frozen=True, slots=True)
class Raw:
    """An answer that is no JSON."""

    media: str
    example: str


Shape: TypeAlias = type[Answer] | UnionType | Raw
"""A union is an answer that a query can switch to another form; the example is the first's."""


def example_of(shape: Shape) -> Any:
    first: Any = get_args(shape)[0] if isinstance(shape, UnionType) else shape
    return first.example
