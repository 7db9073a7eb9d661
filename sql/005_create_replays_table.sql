-- One row per batch that was reprocessed under mended rules: which load took its place, and what changed.
-- rows_withdrawn counts tellings of lines (key and updated_at) that the new load no longer has; the models
-- hold them until they are rebuilt in full, which rebuilt_at notes.
create table if not exists {{ database }}.MONITORING.REPLAYS (
    feed varchar not null,
    replaced_load_id varchar not null,
    load_id varchar not null,
    rows_quarantined_before number(38, 0) not null,
    rows_quarantined_after number(38, 0) not null,
    rows_withdrawn number(38, 0) not null,
    replayed_at timestamp_ntz not null,
    rebuilt_at timestamp_ntz
);
