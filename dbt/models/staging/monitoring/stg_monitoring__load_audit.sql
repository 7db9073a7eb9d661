select
    load_id,
    unit_kind,
    unit_name,
    source,
    checksum,
    start_offset,
    end_offset,
    rows_read,
    rows_loaded,
    rows_quarantined,
    rows_duplicate,
    loaded_at
from {{ source('monitoring', 'load_audit') }}
