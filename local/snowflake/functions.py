"""Functions that stock fakesnow lacks."""

import re

from sqlglot import Expr, exp, parse_one

from local.snowflake.errors import unsupported

TIME_FORMAT = re.compile("YY|MM|DD|HH|MI|SS|MON|DY", re.IGNORECASE)
_SIGNED_64_BITS = exp.Literal.number(2**63 - 1)

SESSION_FUNCTIONS: dict[type[Expr], str] = {
    exp.CurrentAccount: "LOCAL",
    exp.CurrentAccountName: "LOCAL",
    exp.CurrentOrganizationName: "LOCAL",
    exp.CurrentRegion: "LOCAL",
    exp.CurrentRole: "SYSADMIN",
    exp.CurrentSession: "1",
    exp.CurrentUser: "LOCAL",
    exp.CurrentWarehouse: "LOCAL",
}


def translate(node: Expr) -> Expr:
    """Translate one node of a statement, if it is a function handled here."""
    if isinstance(node, exp.HashAgg):
        return hash_agg(node)
    if isinstance(node, exp.ToChar):
        return formatted_time(node)
    if type(node) in SESSION_FUNCTIONS:
        return session_function(node)
    return node


def hash_agg(node: exp.HashAgg) -> Expr:
    """Compute HASH_AGG(*) or HASH_AGG(a, b): one number for all rows, whatever their order.

    Stock has no such function, and the pipeline fingerprints published tables by it. The sum of the rows'
    hashes: a row that comes twice counts twice. Equal for equal tables in one release of DuckDB, not equal to
    Snowflake's own number. DISTINCT is not supported.
    """
    arguments = [node.this, *node.expressions]
    if any(isinstance(argument, exp.Distinct) for argument in arguments):
        raise unsupported("HASH_AGG(DISTINCT …)")
    columns = [exp.var("*COLUMNS(*)") if isinstance(a, exp.Star) else a.copy() for a in arguments]
    row_hash = exp.cast(exp.Anonymous(this="hash", expressions=columns), exp.DataType.Type.INT128)
    total = exp.Anonymous(this="sum", expressions=[row_hash])
    number = exp.Mod(
        this=exp.func("coalesce", total, exp.Literal.number(0)), expression=_SIGNED_64_BITS.copy()
    )
    return exp.cast(number, exp.DataType.Type.BIGINT)


def formatted_time(node: exp.ToChar) -> Expr:
    """Apply the format of TO_CHAR(column, 'YYYYMMDD').

    Stock knows no types and drops the format, unless the argument is cast to a date or timestamp on the spot.
    A format of numbers is refused, not ignored.
    """
    if not (format := node.args.get("format")):
        return node
    if not TIME_FORMAT.search(format.name):
        raise unsupported(f"the format '{format.name}' of TO_CHAR")
    template = parse_one(f"TO_CHAR(x::timestamp, {format.sql('snowflake')})", read="snowflake")
    template.find(exp.Column).replace(node.this.copy())
    return template


def session_function(node: Expr) -> Expr:
    """Answer CURRENT_ROLE() and the like; stock has none of them, or gives DuckDB's own."""
    literal = exp.Literal.string(SESSION_FUNCTIONS[type(node)])
    if isinstance(node.parent, exp.Select):
        return exp.alias_(literal, f"{node.sql_name()}()", quoted=True)
    return literal
