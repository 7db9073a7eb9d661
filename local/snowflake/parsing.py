"""Parsing a statement once: stock parses it to tell its kind, and again to run it."""

from contextvars import ContextVar

from fakesnow.dialect import parse_one
from sqlglot import Expr

_parsed: ContextVar[dict[str, Expr]] = ContextVar("parsed")


def parse_request(command: str) -> Expr:
    """Parse the statement of a request, and leave the tree for whoever runs it in this request."""
    expression = parse_one(command)
    _parsed.set({command: expression})
    return expression


def parse_once(command: str) -> Expr:
    """Take the tree that the request left, or parse: whoever runs a tree changes it, so it is taken only once."""
    left = _parsed.get({})
    return left.pop(command, None) or parse_one(command)
