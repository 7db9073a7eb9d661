-- Versions of one customer or product meet end to start; exactly the last one is current and open.
with versions as (
    select
        'customer' as entity,
        source,
        customer_id as entity_id,
        valid_from,
        valid_to,
        is_current
    from {{ ref('dim_customer') }}
    union all
    select
        'product' as entity,
        source,
        product_id as entity_id,
        valid_from,
        valid_to,
        is_current
    from {{ ref('dim_product') }}
),

neighbours as (
    select
        *,
        lead(valid_from) over (partition by entity, source, entity_id order by valid_from) as next_from
    from versions
)

select *
from neighbours
where
    valid_from >= valid_to
    or valid_to <> coalesce(next_from, '{{ var("end_of_time") }}'::timestamp_ntz)
    or is_current <> (next_from is null)
