-- One row per file that ever arrived: landed in raw storage, or refused as a whole with the reason.
create table if not exists {{ database }}.MONITORING.LANDED_FILES (
    feed varchar not null,
    checksum varchar not null,
    file_name varchar not null,
    path varchar,
    size_bytes number(38, 0) not null,
    refusal varchar,
    landed_at timestamp_ntz not null
);

-- One row per input file, or per Kafka partition and stretch of offsets: every row read is accounted for.
-- rows_read = rows_loaded + rows_quarantined + rows_duplicate; for a partition rows_read is
-- end_offset - start_offset and rows_quarantined counts its dead letters.
create table if not exists {{ database }}.MONITORING.LOAD_AUDIT (
    load_id varchar not null,
    unit_kind varchar not null,
    unit_name varchar not null,
    source varchar not null,
    checksum varchar,
    start_offset number(38, 0),
    end_offset number(38, 0),
    rows_read number(38, 0) not null,
    rows_loaded number(38, 0) not null,
    rows_quarantined number(38, 0) not null,
    rows_duplicate number(38, 0) not null,
    loaded_at timestamp_ntz not null
);

-- One row per partition of the dead-letter topic and stream audit: how far the audit has read it.
create table if not exists {{ database }}.MONITORING.DEAD_LETTER_POSITIONS (
    load_id varchar not null,
    topic_partition number(38, 0) not null,
    end_offset number(38, 0) not null
);

-- One row per expectation and validation run.
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

-- One row per publication of the marts: what was shown to readers, and made of what.
create table if not exists {{ database }}.MONITORING.PUBLICATIONS (
    run_id varchar not null,
    fingerprint varchar not null,
    tables variant,
    published_at timestamp_ntz not null
);

-- One row per finished run of the main flow, with its summary as the terminal shows it.
create table if not exists {{ database }}.MONITORING.PIPELINE_RUNS (
    run_id varchar not null,
    status varchar not null,
    summary variant,
    finished_at timestamp_ntz not null
);
