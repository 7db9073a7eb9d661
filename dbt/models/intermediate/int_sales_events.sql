{{ config(materialized='incremental', incremental_strategy='merge', unique_key='event_key') }}

-- JSON is read once, when an event arrives: everything downstream works on typed columns.
select
    event_key,
    event_id,
    event_type,
    line_key,
    source,
    order_id,
    line_number,
    product_id,
    product_name,
    product_category,
    customer_id,
    customer_segment,
    country,
    quantity,
    unit_price,
    currency,
    ordered_at,
    updated_at,
    kafka_topic,
    kafka_partition,
    kafka_offset,
    pushed_at as arrived_at,
    kafka_topic || '-' || kafka_partition || '@' || lpad(kafka_offset::varchar, 20, '0') as arrival_id,
    rule_ids,
    iff(rule_ids is null, null, record_content) as rejected_content
from {{ ref('stg_kafka__sales_events') }}
{% if is_incremental() %}
where pushed_at >= {{ arrived_since() }}
{% endif %}
-- A sink that lost its place writes a message again: same coordinates and creation time, later push.
qualify row_number() over (partition by event_key order by pushed_at desc) = 1
