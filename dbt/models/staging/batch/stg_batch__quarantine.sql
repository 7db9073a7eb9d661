select
    {{ surrogate_key(['batch_id', 'file_name', 'file_line']) }} as quarantine_key,
    source,
    rule_ids,
    raw_line,
    batch_id,
    file_name,
    file_line,
    loaded_at
from {{ source('raw', 'sales_quarantine') }}
