"""Whether a changed event schema still keeps the promise of the published one.

Published is what events on the topic were checked against. A change is compatible when whoever relied on the old
schema can go on with the new one: consumers, for whom no event may come that the old schema did not allow (a new
optional field apart), and producers, of whom no event may be refused that was good. So what may change within a
version is its prose, and a new property that is not required; all else is a new version in a file of its own
(docs/decisions/0008-event-schema.md).
"""

from collections.abc import Iterator, Mapping
from typing import Any

PROSE = frozenset({"title", "description", "$comment", "examples"})
# A keyword, and whether the events become fewer when its value grows. Absent, it bounds nothing.
BOUNDS = {
    "minimum": True,
    "exclusiveMinimum": True,
    "minLength": True,
    "minItems": True,
    "minProperties": True,
    "maximum": False,
    "exclusiveMaximum": False,
    "maxLength": False,
    "maxItems": False,
    "maxProperties": False,
}
LISTED = ("type", "enum", "required")
Schema = Mapping[str, Any]


def incompatible_changes(published: Schema, changed: Schema, where: str = "the event") -> list[str]:
    """List in sentences what the changed schema breaks; nothing means that it is compatible."""
    return list(_changes(published, changed, where))


def _changes(before: Schema, after: Schema, where: str) -> Iterator[str]:
    yield from _required(before, after, where)
    yield from _properties(before, after, where)
    yield from _choices(before, after, where)
    for rule in sorted({*before, *after} - PROSE - {"properties", *LISTED}):
        old, new = before.get(rule), after.get(rule)
        if old == new:
            continue
        if rule == "additionalProperties":
            yield f"{where}: additionalProperties {'tightened' if new is False else 'changed'}"
        elif rule in BOUNDS:
            tighter = old is None or (new is not None and (new > old) == BOUNDS[rule])
            yield f"{where}: {rule} {'tightened' if tighter else 'loosened'} from {old} to {new}"
        elif isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _changes(old, new, f"{where} {rule}")
        else:
            yield f"{where}: {rule} changed from {old} to {new}"


def _required(before: Schema, after: Schema, where: str) -> Iterator[str]:
    old, new = set(before.get("required", ())), set(after.get("required", ()))
    yield from (f"{where}: {name} became required" for name in sorted(new - old))
    yield from (f"{where}: {name} is not required any more" for name in sorted(old - new))


def _properties(before: Schema, after: Schema, where: str) -> Iterator[str]:
    old, new = before.get("properties", {}), after.get("properties", {})
    yield from (f"{where}: {name} was removed" for name in old if name not in new)
    for name in (name for name in old if name in new):
        yield from _changes(old[name], new[name], name if where == "the event" else f"{where}.{name}")


def _choices(before: Schema, after: Schema, where: str) -> Iterator[str]:
    for rule in ("type", "enum"):
        old, new = _listed(before.get(rule)), _listed(after.get(rule))
        if old == new:
            continue
        if old is None or new is None:
            yield f"{where}: {rule} {'added' if old is None else 'removed'}"
            continue
        yield from (f"{where}: {rule} {value} is not allowed any more" for value in old if value not in new)
        yield from (f"{where}: {rule} {value} is new to consumers" for value in new if value not in old)


def _listed(value: Any) -> list[Any] | None:
    if value is None:
        return None
    return sorted(value, key=str) if isinstance(value, list) else [value]
