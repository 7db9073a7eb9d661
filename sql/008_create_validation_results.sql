-- One row per check and run, or per check, series and subject where a check judges several things (each
-- day of each source, each batch). What the checks saw is the history that later ones are judged against.
-- observed_value is what was measured, where that is a number; unexpected_count the rows that broke the
-- check, of rows_judged; sample_keys are keys of some of them, never other columns.
create table if not exists {{ database }}.MONITORING.VALIDATION_RESULTS (
    run_id varchar not null,
    layer varchar not null,
    table_name varchar not null,
    check_id varchar not null,
    series varchar,
    subject varchar,
    severity varchar not null,
    success boolean not null,
    observed varchar,
    observed_value number(38, 6),
    unexpected_count number(38, 0),
    rows_judged number(38, 0),
    sample_keys variant,
    judged_at timestamp_ntz not null
);

-- What an anomaly check called unusual and a person called right, with the reason.
create table if not exists {{ database }}.MONITORING.ACCEPTED_ANOMALIES (
    table_name varchar not null,
    check_id varchar not null,
    series varchar not null,
    subject varchar not null,
    reason varchar not null,
    accepted_at timestamp_ntz not null
);

-- The table before it, under the names of severities that were used then. It is made once more where it is
-- gone, so that this file can be applied again after it was cut off.
create table if not exists {{ database }}.MONITORING.CHECK_RESULTS (
    run_id varchar not null,
    layer varchar not null,
    table_name varchar not null,
    check_id varchar not null,
    severity varchar not null,
    success boolean not null,
    observed varchar,
    checked_at timestamp_ntz not null
);

insert into {{ database }}.MONITORING.VALIDATION_RESULTS (
    run_id, layer, table_name, check_id, severity, success, observed, judged_at
)
select
    run_id,
    layer,
    table_name,
    check_id,
    iff(severity = 'critical', 'stop', 'warn') as severity,
    success,
    observed,
    checked_at
from {{ database }}.MONITORING.CHECK_RESULTS
where
    (run_id, layer) not in (
        select
            carried.run_id,
            carried.layer
        from {{ database }}.MONITORING.VALIDATION_RESULTS as carried
    );

drop table {{ database }}.MONITORING.CHECK_RESULTS;
