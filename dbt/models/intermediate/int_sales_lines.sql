{{ config(materialized='incremental', incremental_strategy='merge', unique_key='line_key') }}

{%- set line_columns = [
    'line_key', 'source', 'order_id', 'line_number', 'product_id', 'product_name', 'product_category',
    'customer_id', 'customer_segment', 'country', 'quantity', 'unit_price', 'currency', 'ordered_at', 'updated_at',
] %}

-- RAW is cut to the new arrivals before anything is sorted: the cost of a run follows what is new.
with arrivals as (
    select
        {{ line_columns | join(',\n        ') }},
        'batch' as channel,
        loaded_at as arrived_at,
        batch_id || '/' || file_name || '#' || lpad(file_line::varchar, 12, '0') as arrival_id
    from {{ ref('stg_batch__sales_lines') }}
    {% if is_incremental() %}
    where loaded_at >= {{ arrived_since("channel = 'batch'") }}
    {% endif %}
    union all

    select
        {{ line_columns | join(',\n        ') }},
        'stream' as channel,
        arrived_at,
        arrival_id
    from {{ ref('int_sales_events') }}
    where
        rule_ids is null
        {% if is_incremental() %}
        and arrived_at >= {{ arrived_since("channel = 'stream'") }}
        {% endif %}
),

-- Text that sorts as the tellings do; equal only for a row that is read again.
ranked as (
    select
        *,
        {{ surrogate_key([
            'line_key', 'product_id', 'product_name', 'product_category', 'customer_id', 'customer_segment',
            'country', 'quantity', 'unit_price', 'currency', time_text('ordered_at'), time_text('updated_at'),
        ]) }} as line_fingerprint,
        {{ time_text('updated_at') }} || ' ' || {{ time_text('arrived_at') }} || ' ' || arrival_id as recency
    from arrivals
),

newest as (
    select *
    from ranked
    qualify row_number() over (partition by line_key order by recency desc) = 1
)

select newest.*
from newest
{% if is_incremental() %}
-- A late older version loses against the one already held, and a row read again is no news.
left join {{ this }} as held on newest.line_key = held.line_key
where held.line_key is null or newest.recency > held.recency
{% endif %}
