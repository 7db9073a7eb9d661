"""Statements that are answered without DuckDB: account administration, session parameters, SHOW of what is not.

The embedded warehouse has no roles, warehouses, policies or tasks; scripts that create or grant them run
unchanged and have no effect here. What sqlglot cannot parse at all still fails, loudly.
"""

import re

from fakesnow.transforms import SUCCESS_NOP
from sqlglot import Expr, exp, parse_one

from local.snowflake.errors import unsupported

ACCOUNT_OBJECTS = re.compile(
    r"""\s*(OR\s+REPLACE\s+)?(DATABASE\s+ROLE|ROLE|SECONDARY\s+ROLES|USER|WAREHOUSE|RESOURCE\s+MONITOR|SHARE|TAG
    |TASK|STREAM|PIPE|ALERT|ACCOUNT|NETWORK\s+RULE|(\w+\s+){1,2}(POLICY|INTEGRATION))\b""",
    re.IGNORECASE | re.VERBOSE,
)
SHOW_COLUMNS = {
    "GRANTS": ("created_on", "privilege", "granted_on", "name", "granted_to", "grantee_name", "grant_option"),
    "ROLES": ("created_on", "name", "is_default", "is_current", "comment"),
    "TASKS": ("created_on", "name", "database_name", "schema_name", "state"),
    "PIPES": ("created_on", "name", "database_name", "schema_name", "definition"),
    "STREAMS": ("created_on", "name", "database_name", "schema_name", "table_name"),
}


def is_account_level(expression: Expr) -> bool:
    """Tell whether a statement is about the account (roles, grants, warehouses, policies), not about data.

    Stock fakesnow fails on nearly all of them, so that no script of grants would run.
    """
    if isinstance(expression, exp.Command):
        verb = str(expression.this).upper()
        is_ddl = verb in ("CREATE", "ALTER", "DROP")
        return verb in ("GRANT", "REVOKE") or (
            is_ddl and bool(ACCOUNT_OBJECTS.match(str(expression.expression)))
        )
    if isinstance(expression, exp.Create | exp.Drop | exp.Alter | exp.Use):
        return bool(ACCOUNT_OBJECTS.match(str(expression.args.get("kind"))))
    return isinstance(expression, exp.Grant | exp.Revoke)


def answer(expression: Expr, parameters: dict[str, str]) -> Expr | None:
    """Give the query that answers a statement in place of DuckDB, or None for every other statement."""
    if is_account_level(expression):
        return SUCCESS_NOP.copy()
    if isinstance(expression, exp.Alter) and expression.kind == "SESSION":
        return set_parameters(expression, parameters)
    if isinstance(expression, exp.Command) and str(expression.this).upper() == "SHOW":
        return show(str(expression.expression), parameters)
    return None


def set_parameters(alter: exp.Alter, parameters: dict[str, str]) -> Expr | None:
    """Keep session parameters such as QUERY_TAG in mind; stock refuses all but AUTOCOMMIT.

    The server computes in UTC, so a TIMEZONE other than UTC is refused, not ignored.
    """
    session = alter.find(exp.AlterSession)
    for item in session.expressions:
        name = item.find(exp.Identifier).name.upper()
        value = "" if session.args.get("unset") else item.this.expression.name
        if name in ("AUTOCOMMIT", "QUOTED_IDENTIFIERS_IGNORE_CASE"):
            return None
        if name == "TIMEZONE" and value.upper() not in ("", "UTC", "ETC/UTC"):
            raise unsupported(f"the time zone '{value}': it computes in UTC")
        parameters[name] = value
    return SUCCESS_NOP.copy()


def show(what: str, parameters: dict[str, str]) -> Expr | None:
    """Answer SHOW PARAMETERS LIKE of a parameter, which dbt's query_tag needs, and SHOW of absent objects.

    Stock gives no row for a parameter (dbt then crashes) and fails on SHOW GRANTS and the like.
    """
    words = what.upper().split()
    if words[:2] == ["PARAMETERS", "LIKE"]:
        name = words[2].strip("'")
        value = exp.Literal.string(parameters.get(name, "")).sql()
        return parse_one(
            f"""SELECT '{name}' AS "key", {value} AS "value", '' AS "default", 'SESSION' AS "level",
            '' AS "description", 'STRING' AS "type" """
        )
    kind = next((word for word in words if word not in ("TERSE", "FUTURE")), "")
    if columns := SHOW_COLUMNS.get(kind):
        nulls = ", ".join(f'CAST(NULL AS TEXT) AS "{column}"' for column in columns)
        return parse_one(f"SELECT {nulls} WHERE FALSE")
    return None
