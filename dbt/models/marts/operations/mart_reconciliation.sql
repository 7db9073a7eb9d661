-- A file is one unit per batch. A partition is one unit for good: its loads follow one another.
with audited as (
    select
        unit_kind,
        unit_name,
        iff(unit_kind = 'file', load_id, null) as batch_id,
        max(source) as source,
        min(start_offset) as start_offset,
        max(end_offset) as end_offset,
        sum(rows_read) as rows_read,
        sum(rows_loaded) as rows_loaded,
        sum(rows_quarantined) as rows_quarantined,
        sum(rows_duplicate) as rows_duplicate
    from {{ ref('stg_monitoring__load_audit') }}
    group by unit_kind, unit_name, batch_id
),

found_in_files as (
    select
        batch_id,
        file_name,
        count_if(is_valid) as valid_rows,
        count_if(not is_valid) as quarantined_rows
    from (
        select
            batch_id,
            file_name,
            true as is_valid
        from {{ ref('stg_batch__sales_lines') }}
        union all
        select
            batch_id,
            file_name,
            false as is_valid
        from {{ ref('stg_batch__quarantine') }}
    )
    group by batch_id, file_name
),

found_in_partitions as (
    select
        audited.unit_name,
        count(distinct events.kafka_offset) as landed_rows
    from audited
    inner join {{ ref('int_sales_events') }} as events
        on
            audited.start_offset <= events.kafka_offset
            and audited.end_offset > events.kafka_offset
            and audited.unit_name = events.kafka_topic || '-' || events.kafka_partition::varchar
    where audited.unit_kind = 'partition'
    group by audited.unit_name
),

compared as (
    select
        audited.*,
        coalesce(files.valid_rows, partitions.landed_rows, 0) as rows_found,
        -- dead letters stay in Kafka: for a partition the audit is the only witness
        iff(
            audited.unit_kind = 'file', coalesce(files.quarantined_rows, 0), audited.rows_quarantined
        ) as rejects_found,
        audited.rows_read
        - audited.rows_loaded
        - audited.rows_quarantined
        - audited.rows_duplicate as rows_unexplained,
        iff(
            audited.unit_kind = 'file', 0, audited.end_offset - audited.start_offset - audited.rows_read
        ) as offsets_unread
    from audited
    left join found_in_files as files
        on audited.batch_id = files.batch_id and audited.unit_name = files.file_name
    left join found_in_partitions as partitions
        on audited.unit_kind = 'partition' and audited.unit_name = partitions.unit_name
)

select
    {{ surrogate_key(['unit_kind', 'unit_name', 'batch_id']) }} as load_unit_key,
    unit_kind,
    unit_name,
    batch_id,
    source,
    start_offset,
    end_offset,
    rows_read::number(38, 0) as rows_read,
    rows_loaded::number(38, 0) as rows_loaded,
    rows_quarantined::number(38, 0) as rows_quarantined,
    rows_duplicate::number(38, 0) as rows_duplicate,
    rows_found::number(38, 0) as rows_found,
    rows_unexplained::number(38, 0) as rows_unexplained,
    coalesce(
        rows_unexplained = 0
        and offsets_unread = 0
        and rows_found = rows_loaded
        and rejects_found = rows_quarantined,
        false
    ) as is_balanced
from compared
