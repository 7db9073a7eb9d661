-- One row per check and look at the stream: what was found, against what, and what to do about it.
-- measured is the number behind the finding (restarts, events, seconds; see the check), details what the next
-- look compares with (offsets by partition, depth of the dead letters).
create table if not exists {{ database }}.MONITORING.STREAM_HEALTH (
    run_id varchar not null,
    check_name varchar not null,
    status varchar not null,
    observed varchar not null,
    threshold varchar not null,
    advice varchar,
    measured number(38, 3),
    details variant,
    looked_at timestamp_ntz not null
);
