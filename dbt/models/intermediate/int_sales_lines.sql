{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='line_key') }}

-- Tellings are cut to the new arrivals before anything is sorted: the cost of a run follows what is new.
with arrivals as (
    select *
    from {{ ref('int_sales_tellings') }}
    {% if is_incremental() %}
    where
        (channel = 'batch' and arrived_at >= {{ arrived_since("channel = 'batch'") }})
        or (channel = 'stream' and arrived_at >= {{ arrived_since("channel = 'stream'") }})
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
{%- if is_incremental() %},

held as (
    select
        line_key,
        recency
    from {{ this }}
    where line_key in (select newest.line_key from newest)
)
{%- endif %}

select
    newest.*,
    {{ next_load() }} as load_number
from newest
{% if is_incremental() %}
-- A late older version loses against the one already held, and a row read again is no news.
left join held on newest.line_key = held.line_key
where held.line_key is null or newest.recency > held.recency
{% endif %}
