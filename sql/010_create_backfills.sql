-- One row per chunk of a backfill, written when it is planned, so that a killed one goes on where it was.
-- backfill_id: hash of the request, the rules and the chunks; rules_version: hash of the job's code, the
-- contract and the feed. batches: the loads to replace, each with its files (JSON). status: planned, done,
-- failed, superseded (planned anew under other rules) or abandoned. While a chunk is planned or failed
-- nothing is published. rows_before and rows_after count valid rows of the batches; spark_seconds adds up
-- the chunk's Spark runs, waiting included.
create table if not exists {{ database }}.MONITORING.BACKFILLS (
    backfill_id varchar not null,
    chunk number(38, 0) not null,
    feed varchar not null,
    request varchar not null,
    rules_version varchar not null,
    batches varchar not null,
    status varchar not null,
    rows_before number(38, 0) not null,
    rows_after number(38, 0),
    spark_seconds number(38, 3),
    error varchar,
    planned_at timestamp_ntz not null,
    noted_at timestamp_ntz not null
);
