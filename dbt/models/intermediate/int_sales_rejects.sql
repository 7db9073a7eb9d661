{{ config(materialized='view') }}

select
    event_key,
    event_id,
    source,
    order_id,
    line_number,
    rule_ids,
    rejected_content,
    kafka_topic,
    kafka_partition,
    kafka_offset,
    arrived_at,
    arrival_id
from {{ ref('int_sales_events') }}
where rule_ids is not null
