select
    {{ surrogate_key(['source', 'customer_id', time_text('valid_from')]) }} as customer_key,
    source,
    customer_id,
    customer_segment,
    country,
    valid_from,
    valid_to,
    is_current
from {{ ref('int_customer_history') }}

union all

select
    {{ unknown_key() }} as customer_key,
    'unknown' as source,
    'unknown' as customer_id,
    null as customer_segment,
    null as country,
    '{{ var("start_of_time") }}'::timestamp_ntz as valid_from,
    '{{ var("end_of_time") }}'::timestamp_ntz as valid_to,
    true as is_current
