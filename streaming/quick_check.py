"""A quick check of events: the schema's own rules as one Python expression, for the many events that are good.

It says yes only to what the schema allows. To say no, and why, is left to the full validator: a rule that this check
does not know, or a value of a rare kind, merely costs the time of asking there.
"""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

Check = Callable[[Mapping[str, Any]], bool]
NEVER = "False"  # look closer
# Each begins with the value, v.
TYPES = {
    "string": "type(v) is str",
    "integer": "type(v) is int",  # neither True nor 1.0
    "number": "type(v) in numbers",
}
SILENT = ("description", "title", "$comment", "type")


def quick_check(schema: Mapping[str, Any]) -> Check:
    """Compile the schema of a flat object that allows no other properties than its own."""
    properties, names = schema["properties"], dict[str, Any](numbers=(float, int), Nothing=type(None))
    optional = [name for name in properties if name not in schema["required"]]
    present = "".join(f" + ({name!r} in e)" for name in optional)
    closed = schema["additionalProperties"] is False
    tests = [f"len(e) == {len(properties) - len(optional)}{present}" if closed else NEVER]
    for name, rules in properties.items():
        absent = f"{name!r} not in e or " if name in optional else ""
        tests.append(f"({absent}{_test(rules, names)})".replace("(v)", f"(v := e[{name!r}])", 1))
    lines = ("def check(e):", " try:", f"  return {' and '.join(tests)}", " except (KeyError, TypeError):")
    exec("\n".join([*lines, "  return False"]), names)  # noqa: S102 (made from our own schema file)  # nosec B102
    return names["check"]


def _test(rules: Mapping[str, Any], names: dict[str, Any]) -> str:
    types = rules.get("type", _implied(rules))
    types = [types] if isinstance(types, str) else types
    if not {"null", *TYPES}.issuperset(types):
        return NEVER
    others = [_rule(rule, given, names) for rule, given in rules.items() if rule not in SILENT]
    tests = [" and ".join([TYPES[kind], *others]) for kind in types if kind != "null"]
    if "null" in types:
        tests.append("type(v) is Nothing" if others == [] else NEVER)
    return " or ".join(f"({test})" for test in tests)


def _implied(rules: Mapping[str, Any]) -> str:
    """Name the type of a constant or of all choices; one that TYPES does not know if they differ."""
    kinds = {type(value) for value in rules.get("enum", [rules.get("const")])}
    return {str: "string", int: "integer"}.get(kinds.pop(), "mixed") if len(kinds) == 1 else "mixed"


def _rule(rule: str, given: Any, names: dict[str, Any]) -> str:
    name = f"g{len(names)}"
    names[name] = given
    match rule, given:
        case "const", _:
            return f"v == {name}"
        case "enum", list():
            names[name] = frozenset(given)
            return f"v in {name}"
        case "not", {"const": int(), **rest} if not rest:
            return f"v != {name}['const']"
        case "minimum", _:
            return f"v >= {name}"
        case "exclusiveMaximum", _:
            return f"v < {name}"
        case "minLength", _:
            return f"len(v) >= {name}"
        case "multipleOf", _ if (digits := Decimal(str(given)).as_tuple()).digits == (1,):
            return f"round(v, {-int(digits.exponent)}) == v"
        case "pattern", str() if given[0] == "^" and given[-1] == "$" and "|" not in given:
            names[name] = re.compile(given[1:-1]).fullmatch
            return f"{name}(v) is not None"
    return NEVER
