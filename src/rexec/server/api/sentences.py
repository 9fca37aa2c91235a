"""What a request got wrong, as sentences for people: `memory_mb must be a whole number`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from rexec import models

Found = Mapping[str, Any]
"""One finding of pydantic."""
_PLACES = ("body", "query", "path", "header")
_KINDS = {
    "string": "text", "int": "a whole number", "float": "a number", "bool": "true or false", "list": "a list",
    "tuple": "a list", "dict": "an object", "model": "an object", "model_attributes": "an object",
}  # fmt: skip
_PLAIN = {
    "missing": "is required",
    "extra_forbidden": "is not a key of this request",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} items",
    "too_long": "must have at most {max_length} items",
    "json_invalid": "is not valid JSON: {error}",
    "value_error": "{error}",
}
_FORMS = {
    models.NAME: "must have 1 to 64 letters, digits, hyphens or underscores, the first one a letter or digit",
    models.GUEST_NAME: "must have 2 to 30 letters, digits, underscores or hyphens",
    models.USER_NAME: "must have 2 to 64 letters, digits or any of _ . @ -",
    models.EMAIL: "must be an e-mail address",
    models.PATH: "must begin with /",
    models.MODE: "must be three or four octal digits, as 0644",
}
_LONGEST = 500


def details(found: Sequence[Found]) -> list[dict[str, str]]:
    """One for each field; of a value that fits none of several types, what it might have been."""
    told = []
    for place, group in groupby(found, key=lambda one: _place(one["loc"])):
        findings = list(group)
        deepest = max(len(one["loc"]) for one in findings)
        chosen = [one for one in findings if len(one["loc"]) == deepest]
        inner = () if chosen[0]["loc"][:1] == ("query",) else _index(chosen[-1]["loc"], place)
        told.append({"field": _name(place + inner, chosen[0]), "message": _said(chosen)[:_LONGEST]})
    return told


def sentence(detail: Mapping[str, str]) -> str:
    return f"{detail['field'] or 'the body'} {detail['message']}"


def _place(where: Sequence[str | int]) -> tuple[str | int, ...]:
    """Without the request's part it is in, and without pydantic's names for the branches of a union."""
    placed = where and (where[0] == "body" or (where[0] in _PLACES and len(where) > 1))
    inside = tuple(where[1:] if placed else where)
    if where and where[0] == "query":
        return inside[:1]
    branch = next((at for at, part in enumerate(inside) if at and _is_branch(part)), len(inside))
    return inside[:branch]


def _is_branch(part: str | int) -> bool:
    return isinstance(part, str) and (part in ("str", "int", "float", "constrained-str") or part.endswith("]"))


def _name(place: Sequence[str | int], found: Found) -> str:
    if found["type"] == "json_invalid":
        return ""
    within = (found.get("ctx") or {}).get("field")
    return ".".join(str(part) for part in (*place, *([within] if within else ())))


def _said(findings: Sequence[Found]) -> str:
    kinds = [_kind(one["type"]) for one in findings]
    known = [kind for kind in dict.fromkeys(kinds) if kind is not None]
    if None not in kinds:
        plainer = [kind for kind in known if not (kind == "a whole number" and "a number" in known)]
        return f"must be {' or '.join(plainer)}"
    return _message(next(one for one, kind in zip(findings, kinds, strict=True) if kind is None))


def _kind(type: str) -> str | None:
    for ending in ("_type", "_parsing", "_from_float", "_parsing_size"):
        if type.endswith(ending):
            return _KINDS.get(type.removesuffix(ending))
    return None


def _message(found: Found) -> str:
    context = {name: _plain(value) for name, value in (found.get("ctx") or {}).items()}
    if found["type"] == "string_pattern_mismatch":
        return _FORMS.get(context["pattern"], f"must look like {context['pattern']}")
    if found["type"] in ("literal_error", "enum"):
        return f"must be {context['expected']}".replace("'", "")
    if context.get("min_length") == 1:
        return "must not be empty"
    plain = _PLAIN.get(found["type"])
    return str(found["msg"]) if plain is None else plain.format_map(context)


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _index(where: Sequence[str | int], place: Sequence[str | int]) -> tuple[int, ...]:
    return tuple(part for part in where if isinstance(part, int) and part not in place)
