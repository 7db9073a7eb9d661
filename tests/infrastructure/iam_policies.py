"""A small evaluator of IAM policies: Allow and Deny, wildcards in actions and resources.

A condition is taken as fulfilled in an Allow and as not fulfilled in a Deny: what it calls forbidden is forbidden
whatever the conditions. (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html)
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

Statement = dict[str, Any]


def statements(policy: dict[str, Any]) -> Iterator[Statement]:
    """Give a policy's statements with lists for actions and resources."""
    given = policy["Statement"]
    for each in given if isinstance(given, list) else [given]:
        yield each | {key: _list(each.get(key, [])) for key in ("Action", "Resource")}


def is_allowed(policies: Iterable[dict[str, Any]], action: str, resource: str) -> bool:
    """Say whether these policies of one identity may allow an action on a resource (an ARN)."""
    found = [each for policy in policies for each in statements(policy) if _is_about(each, action, resource)]
    denied = any(each["Effect"] == "Deny" and not each.get("Condition") for each in found)
    return not denied and any(each["Effect"] == "Allow" for each in found)


def _is_about(statement: Statement, action: str, resource: str) -> bool:
    assert not {"NotAction", "NotResource", "NotPrincipal"} & statement.keys(), "not understood here"
    is_action = any(_matches(pattern.lower(), action.lower()) for pattern in statement["Action"])
    return is_action and any(_matches(pattern, resource) for pattern in statement["Resource"])


def _matches(pattern: str, value: str) -> bool:
    parts = {"*": ".*", "?": "."}
    return bool(re.fullmatch("".join(parts.get(c, re.escape(c)) for c in pattern), value, flags=re.DOTALL))


def _list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
