"""What keeps a text from being Snowflake's SQL, as far as can be told without Snowflake.

The embedded warehouse is DuckDB underneath and takes more than Snowflake does. sqlglot and sqlfluff read every
statement as Snowflake; what they read for more than one dialect is caught by its tokens, since sqlglot's tree forgets
how a thing was written (string_agg becomes LISTAGG, `from t` becomes SELECT *).
"""

import re
from collections.abc import Iterator
from itertools import pairwise

import sqlfluff
import sqlglot
from sqlfluff.api.simple import APIParsingError
from sqlglot import Expr, TokenType, exp
from sqlglot.errors import SqlglotError
from sqlglot.tokens import Token

# Functions of Snowflake, those a warehouse of sales may come to use. Check a new one in Snowflake's reference first.
FUNCTIONS = set(
    re.findall(
        r"\w+",
        """
    abs add_months any_value approx_count_distinct approx_percentile array_agg array_append array_cat array_compact
    array_construct array_contains array_distinct array_size array_slice array_to_string avg bitand
    booland_agg boolor_agg cast ceil charindex coalesce collate concat concat_ws contains convert_timezone corr count
    count_if current_account current_database current_date current_role current_schema current_timestamp current_user
    current_warehouse date_from_parts date_part date_trunc dateadd datediff day dayname dayofmonth dayofweek
    dayofweekiso dayofyear decode dense_rank div0 div0null endswith equal_null exp extract first_value flatten floor
    generator get get_path greatest grouping hash hash_agg hour iff ifnull ilike initcap insert is_null_value lag
    last_day last_query_id last_value lead least left length like listagg ln log lower lpad ltrim max max_by md5
    median min min_by minute mod mode month monthname months_between next_day nth_value ntile nullif nullifzero nvl
    nvl2 object_agg object_construct object_construct_keep_null object_delete object_keys parse_json percent_rank
    percentile_cont percentile_disc position power quarter rank regexp_count regexp_instr regexp_like regexp_replace
    regexp_substr repeat replace reverse right round row_number rpad rtrim second seq1 seq2 seq4 seq8 sha1 sha2 sign
    split split_part sqrt startswith stddev stddev_pop stddev_samp substr substring sum sysdate table time_slice
    timeadd timediff timestamp_ntz_from_parts timestampadd timestampdiff to_array to_binary to_boolean to_char to_date
    to_decimal to_double to_json to_number to_object to_time to_timestamp to_timestamp_ltz to_timestamp_ntz
    to_timestamp_tz to_varchar to_variant translate trim trunc try_cast try_parse_json try_to_boolean try_to_date
    try_to_decimal try_to_double try_to_number try_to_timestamp try_to_timestamp_ntz upper uuid_string
    var_pop var_samp variance week weekiso width_bucket year zeroifnull
    """,
    )
)
TYPES = {
    "NUMBER",
    "DECIMAL",
    "VARCHAR",
    "TEXT",
    "TIMESTAMPNTZ",
    "DATE",
    "BOOLEAN",
    "DOUBLE",
    "VARIANT",
    "INT",
    "BIGINT",
}
# Words that a parenthesis may follow without being called.
WORDS = set(
    re.findall(
        r"\w+",
        """
    all and any as between by case clone columns distinct else except exists file_format from group having if in
    include_metadata inner into is join key like not number on or order outer over partition pattern primary qualify
    select set table then timestamp_ntz union unique using values varchar when where with within
    """,
    )
)
# What can stand by itself; of an unknown `word word` sqlglot makes a column with an alias.
STATEMENTS = (
    exp.Query,
    exp.DML,
    exp.DDL,
    exp.Command,
    exp.Drop,
    exp.Alter,
    exp.Copy,
    exp.Comment,
    exp.Use,
    exp.Show,
    exp.Grant,
    exp.Revoke,
    exp.TruncateTable,
    exp.Transaction,
    exp.Commit,
    exp.Rollback,
    exp.Describe,
)


def offences(sql: str, twice: bool = False) -> list[str]:
    """Say what in these statements Snowflake does not know; empty if all is well.

    sqlfluff reads what sqlglot takes as it is (CREATE ROLE, …), and with `twice` everything: it is slow.
    """
    try:
        trees = [tree for tree in sqlglot.parse(sql, read="snowflake") if tree]
        tokens = sqlglot.tokenize(sql, read="snowflake")
    except SqlglotError as error:
        return [_unread("sqlglot", error)]
    found = [offence for tree in trees for offence in (*_in_tree(tree), *_calls(tree, tokens))]
    if twice or any(isinstance(tree, exp.Command) for tree in trees):
        found += _by_sqlfluff(sql)
    return list(dict.fromkeys([*found, *_in_tokens(tokens)]))


def _unread(reader: str, error: Exception) -> str:
    return f"{reader} cannot read it: {' '.join(str(error).split())[:200]}"


def _by_sqlfluff(sql: str) -> list[str]:
    try:
        sqlfluff.parse(sql, dialect="snowflake")
    except APIParsingError as error:
        return [_unread("sqlfluff", error)]
    return []


def _in_tree(tree: Expr) -> Iterator[str]:
    for node in tree.walk():
        if isinstance(node, exp.Pragma) or (node.parent is None and not isinstance(node, STATEMENTS)):
            yield f"the statement {node.sql()[:40]}"
        elif isinstance(node, exp.Kwarg) and node.name.lower() in ("outer", "recursive"):
            yield f"{node.name.upper()} of FLATTEN, which the embedded warehouse answers otherwise"
        elif isinstance(node, exp.Columns):
            yield "COLUMNS(…)"
        elif isinstance(node, exp.Distinct) and node.args.get("on"):
            yield "DISTINCT ON"
        elif isinstance(node, exp.Filter):
            yield "FILTER (WHERE …)"
        elif isinstance(node, exp.Limit) and node.args.get("limit_options"):
            yield "LIMIT in percent"
        elif isinstance(node, exp.DataType) and node.this.name not in TYPES:
            yield f"the type {node.this.name}"
        elif isinstance(node, exp.Identifier) and node.quoted and node.name != node.name.upper():
            yield f'the quoted name "{node.name}", another one than {node.name.upper()} to Snowflake'


def _calls(tree: Expr, tokens: list[Token]) -> Iterator[str]:
    """Name each function that is called and not on the list: a bare word before a parenthesis, no CTE, no table."""
    own = {node.alias.lower() for node in tree.find_all(exp.CTE)} | {
        node.name.lower() for node in tree.find_all(exp.Table)
    }
    for before, token, after in zip([None, *tokens], tokens, tokens[1:], strict=False):
        dotted = before is not None and before.token_type in (TokenType.DOT, TokenType.COLON)
        word = token.text.lower()
        is_word = re.fullmatch(r"[a-z_]\w*", word) and token.token_type != TokenType.STRING
        is_call = is_word and after.token_type == TokenType.L_PAREN and not dotted
        if is_call and word not in FUNCTIONS | WORDS | own:
            yield f"the function {word}"


def _in_tokens(tokens: list[Token]) -> Iterator[str]:
    if tokens and tokens[0].token_type == TokenType.FROM:
        yield "FROM without SELECT"
    for before, token in pairwise(tokens):
        opens = before.token_type in (TokenType.L_PAREN, TokenType.SEMICOLON)
        if opens and token.token_type == TokenType.FROM:
            yield "FROM without SELECT"
