{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='source',
    post_hook="{{ note_loads_read(load_inputs()) }}",
) }}

-- depends_on: {{ ref('int_changed_tellings') }} {{ ref('int_exchange_rates') }}
with
{% if is_incremental() %}
-- The days that changed lines are of, and were of before, and those whose rate was corrected.
touched as (
    select
        told.ordered_at::date as sales_date,
        coalesce(told.country, 'Unknown') as country,
        told.currency,
        told.source
    from {{ ref('int_changed_tellings') }} as told
    where told.load_number > {{ loads_read() }}
    union distinct
    select
        held.sales_date,
        held.country,
        held.currency,
        held.source
    from {{ this }} as held
    inner join {{ ref('int_exchange_rates') }} as rates
        on
            held.currency = rates.currency
            and held.sales_date >= rates.valid_from
            and held.sales_date < rates.valid_to
    where rates.load_number > {{ loads_read() }}
),
{% endif %}
sales as (
    select
        sales.*,
        sales.ordered_at::date as sales_date
    from {{ ref('fct_sales') }} as sales
    {% if is_incremental() %}
    inner join touched
        on
            sales.date_key = {{ date_key('touched.sales_date') }}
            and sales.country = touched.country
            and sales.currency = touched.currency
            and sales.source = touched.source
    {% endif %}
)

select
    {{ surrogate_key(['date_key', 'country', 'currency', 'source']) }} as daily_sales_key,
    date_key,
    sales_date,
    country,
    currency,
    source,
    count(distinct order_id)::number(38, 0) as order_count,
    count(*)::number(38, 0) as line_count,
    sum(quantity)::number(38, 0) as unit_count,
    sum(iff(is_return, 0, amount))::number(38, 4) as gross_amount,
    sum(iff(is_return, -amount, 0))::number(38, 4) as returns_amount,
    sum(amount)::number(38, 4) as net_amount,
    sum(iff(is_return, 0, amount_eur))::number(38, 4) as gross_amount_eur,
    sum(iff(is_return, -amount_eur, 0))::number(38, 4) as returns_amount_eur,
    sum(amount_eur)::number(38, 4) as net_amount_eur
from sales
group by date_key, sales_date, country, currency, source
{% if is_incremental() %}
-- The other days are held here already. A source is replaced as a whole: days without a sale go.
union all
select
    held.daily_sales_key,
    held.date_key,
    held.sales_date,
    held.country,
    held.currency,
    held.source,
    held.order_count,
    held.line_count,
    held.unit_count,
    held.gross_amount,
    held.returns_amount,
    held.net_amount,
    held.gross_amount_eur,
    held.returns_amount_eur,
    held.net_amount_eur
from {{ this }} as held
left join touched
    on
        held.sales_date = touched.sales_date
        and held.country = touched.country
        and held.currency = touched.currency
        and held.source = touched.source
where touched.source is null
{% endif %}
