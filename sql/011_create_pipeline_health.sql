-- One row per check and look at the pipeline: what was found, against what, how it moves, what to do about
-- it. check_name is '<kind> <component>'; measured is the number behind the finding (seconds, shares,
-- days; see the check).
create table if not exists {{ database }}.MONITORING.PIPELINE_HEALTH (
    run_id varchar not null,
    check_name varchar not null,
    status varchar not null,
    observed varchar not null,
    threshold varchar not null,
    trend varchar,
    advice varchar,
    measured number(38, 6),
    details variant,
    looked_at timestamp_ntz not null
);
