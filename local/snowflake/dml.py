"""MERGE, which stock fakesnow emulates by several statements and DuckDB has natively."""

from collections import Counter

from fakesnow.transforms.merge import operations
from sqlglot import Expr, exp, parse_one

ACTIONS = {"inserted": "INSERT", "updated": "UPDATE", "deleted": "DELETE"}


def native_merge(merge: exp.Merge) -> exp.Merge:
    """Write a MERGE as DuckDB wants it, with the action of each row returned for the counts.

    Stock joins target and source into a temporary table, then updates, deletes and inserts one after the other:
    not atomic, and ambiguous with the SQL of dbt's incremental models. DuckDB wants bare names on the left of
    SET and in the column list, and takes unqualified values of an INSERT for the target's.
    """
    source = exp.to_identifier(merge.args["using"].alias_or_name, quoted=True)
    for when in merge.args["whens"].expressions:
        then = when.args.get("then")
        if isinstance(then, exp.Update):
            for assignment in then.expressions:
                assignment.this.set("table", None)
        elif isinstance(then, exp.Insert):
            for column in then.this.expressions if then.this else []:
                column.set("table", None)
            for column in then.expression.find_all(exp.Column):
                if not column.table:
                    column.set("table", source.copy())
    merge.set("returning", exp.Returning(expressions=[exp.column("merge_action")]))
    return merge


def merge_counts(merge: exp.Merge, actions: list[str]) -> Expr:
    """Query the row of counts that Snowflake answers a MERGE with: one column per kind of WHEN clause."""
    count = Counter(actions)
    kinds = [kind for kind, clauses in operations(merge).items() if clauses]
    columns = ", ".join(f'{count[ACTIONS[kind]]} AS "number of rows {kind}"' for kind in kinds)
    query = parse_one(f"SELECT {columns}")
    query.args["merge_counts"] = True  # upstream then reports their sum as the rows affected
    return query
