with messages as (
    select
        record_metadata:topic::varchar as kafka_topic,
        record_metadata:partition::number(10, 0) as kafka_partition,
        record_metadata:offset::number(38, 0) as kafka_offset,
        to_timestamp_ntz(
            coalesce(record_metadata:CreateTime, record_metadata:LogAppendTime)::number(38, 0), 3
        ) as created_at,
        to_timestamp_ntz(record_metadata:SnowflakeConnectorPushTime::number(38, 0), 3) as pushed_at,
        record_content,
        {{ json_text('event_id') }} as event_id,
        {{ json_text('event_type') }} as event_type,
        {{ json_text('source') }} as source,
        {{ json_text('order_id') }} as order_id,
        {{ json_text('line_number') }} as line_number_text,
        {{ json_text('product_id') }} as product_id,
        {{ json_text('product_name') }} as product_name,
        {{ json_text('product_category') }} as product_category,
        {{ json_text('customer_id') }} as customer_id,
        {{ json_text('customer_segment') }} as customer_segment,
        {{ json_text('country') }} as country,
        {{ json_text('quantity') }} as quantity_text,
        {{ json_text('unit_price') }} as unit_price_text,
        {{ json_text('currency') }} as currency,
        {{ json_text('ordered_at') }} as ordered_at_text,
        {{ json_text('updated_at') }} as updated_at_text
    from {{ source('raw', 'sales_raw') }}
),

typed as (
    select
        *,
        {{ exact_integer('line_number_text', 38) }} as line_number,
        {{ exact_integer('quantity_text', 10) }} as quantity,
        {{ exact_price('unit_price_text') }} as unit_price,
        {{ utc_time('ordered_at_text') }} as ordered_at,
        {{ utc_time('updated_at_text') }} as updated_at
    from messages
),

judged as (
    select
        *,
        array_to_string(array_compact(array_construct(
            iff(source is null, 'source_missing', null),
            iff(order_id is null, 'order_id_missing', null),
            iff(line_number_text is null, 'line_number_missing', null),
            iff(line_number_text is not null and line_number is null, 'line_number_invalid', null),
            iff(product_id is null, 'product_id_missing', null),
            iff(quantity_text is null, 'quantity_missing', null),
            iff(quantity_text is not null and quantity is null, 'quantity_invalid', null),
            iff(unit_price_text is null, 'unit_price_missing', null),
            iff(unit_price_text is not null and unit_price is null, 'unit_price_invalid', null),
            iff(currency is null, 'currency_missing', null),
            iff(ordered_at_text is null, 'ordered_at_missing', null),
            iff(ordered_at_text is not null and ordered_at is null, 'ordered_at_invalid', null),
            iff(updated_at_text is null, 'updated_at_missing', null),
            iff(updated_at_text is not null and updated_at is null, 'updated_at_invalid', null),
            iff(quantity = 0, 'quantity_not_zero', null),
            iff(unit_price < 0, 'unit_price_not_negative', null),
            iff(currency not in ('EUR', 'GBP', 'USD', 'CHF', 'SEK', 'PLN'), 'currency_known', null),
            iff(
                ordered_at not between '2000-01-01'::timestamp_ntz and '2100-01-01'::timestamp_ntz,
                'ordered_at_plausible', null
            )
        )), ',') as broken_rules
    from typed
)

select
    {{ surrogate_key([
        'kafka_topic', 'kafka_partition', 'kafka_offset', time_text('created_at'),
    ]) }} as event_key,
    event_id,
    event_type,
    {{ surrogate_key(['source', 'order_id', 'line_number']) }} as line_key,
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
    created_at,
    pushed_at,
    nullif(broken_rules, '') as rule_ids,
    record_content
from judged
