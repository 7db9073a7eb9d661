"""The embedded Snowflake: fakesnow's server (Snowflake's wire protocol on DuckDB), kept on disk.

Stock fakesnow 0.12.1 lives in memory and misses some of what the pipeline needs. Each gap is closed by one
small named function whose docstring says what stock fakesnow does and why the project cares; a test shows the
stock behaviour, so that the function can go when upstream mends it.

What still differs from Snowflake without a word: quoted identifiers ignore case, VARCHAR(n) is not enforced,
AVG and division give floating point (cast them), DATEADD of a date column gives a timestamp, FLATTEN with
OUTER drops rows, roles and grants have no effect, and functions of DuckDB that Snowflake lacks are accepted.
"""
