select
    {{ surrogate_key(['source', 'product_id', time_text('valid_from')]) }} as product_key,
    source,
    product_id,
    product_name,
    product_category,
    valid_from,
    valid_to,
    is_current
from {{ ref('int_product_history') }}

union all

select
    {{ unknown_key() }} as product_key,
    'unknown' as source,
    'unknown' as product_id,
    null as product_name,
    null as product_category,
    '{{ var("start_of_time") }}'::timestamp_ntz as valid_from,
    '{{ var("end_of_time") }}'::timestamp_ntz as valid_to,
    true as is_current
