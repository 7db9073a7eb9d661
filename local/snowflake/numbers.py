"""Arithmetic on NUMBER that stock fakesnow leaves to floating point."""

from collections.abc import Callable

from fakesnow import transforms
from sqlglot import Expr, exp

_stock_numeric_aggregate: Callable[[Expr], Expr] = transforms.numeric_agg_implicit_cast


def exact_sum(node: Expr) -> Expr:
    """Sum NUMBER exactly: 0.1 + 0.2 is 0.3.

    Stock casts the argument of SUM to DOUBLE, so that texts can be summed too; money then is off by the last
    digits. The price is that SUM of a text fails: cast it.
    """
    if not isinstance(node, exp.Sum):
        return _stock_numeric_aggregate(node)
    argument = node.this.copy()
    named = _stock_numeric_aggregate(node)  # upstream also names the column as Snowflake does
    named.unalias().set("this", argument)
    return named


def refuse_division_by_zero(node: Expr) -> Expr:
    """Fail on x / 0, as Snowflake does; in stock fakesnow it is infinity."""
    if isinstance(node, exp.Div) and not _is_nonzero_literal(node.expression):
        divisor = node.expression
        zero = exp.EQ(this=exp.paren(divisor.copy()), expression=exp.Literal.number(0))
        failing = exp.func("error", exp.Literal.string("Division by zero"))
        node.set("expression", exp.paren(exp.Case().when(zero, failing).else_(divisor.copy())))
    return node


def _is_nonzero_literal(node: Expr) -> bool:
    return isinstance(node, exp.Literal) and node.is_number and float(node.name) != 0
