{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='source',
    post_hook="{{ note_loads_read(load_inputs()) }}",
) }}

-- depends_on: {{ ref('int_changed_tellings') }} {{ ref('int_exchange_rates') }}
with
{% if is_incremental() %}
-- The months that changed lines are of, and were of before, and those with a corrected rate in them.
touched as (
    select
        told.source,
        told.product_id,
        date_trunc('month', told.ordered_at)::date as sales_month
    from {{ ref('int_changed_tellings') }} as told
    where told.load_number > {{ loads_read() }}
    union distinct
    select
        held.source,
        held.product_id,
        held.sales_month
    from {{ this }} as held
    inner join {{ ref('int_exchange_rates') }} as rates
        on
            last_day(held.sales_month) >= rates.valid_from
            and held.sales_month < rates.valid_to
    where rates.load_number > {{ loads_read() }}
),
{% endif %}
sales as (
    select
        sales.*,
        products.product_id,
        date_trunc('month', sales.ordered_at)::date as sales_month
    from {{ ref('fct_sales') }} as sales
    inner join {{ ref('dim_product') }} as products on sales.product_key = products.product_key
    {% if is_incremental() %}
    inner join touched
        on
            products.source = touched.source
            and products.product_id = touched.product_id
            and date_trunc('month', sales.ordered_at)::date = touched.sales_month
    {% endif %}
),

-- The lines of touched months are added up; what the others come to is held here already. Shares, ranks and
-- current versions depend on other rows: they are worked out for all, and a source is replaced as a whole.
months as (
    select
        source,
        product_id,
        sales_month,
        sum(iff(is_return, 0, quantity))::number(38, 0) as units_sold,
        sum(iff(is_return, -quantity, 0))::number(38, 0) as units_returned,
        sum(iff(is_return, 0, amount_eur))::number(38, 4) as gross_amount_eur,
        sum(iff(is_return, -amount_eur, 0))::number(38, 4) as returns_amount_eur,
        sum(amount_eur)::number(38, 4) as net_amount_eur
    from sales
    group by source, product_id, sales_month
    {% if is_incremental() %}
    union all
    select
        held.source,
        held.product_id,
        held.sales_month,
        held.units_sold,
        held.units_returned,
        held.gross_amount_eur,
        held.returns_amount_eur,
        held.net_amount_eur
    from {{ this }} as held
    left join touched
        on
            held.source = touched.source
            and held.product_id = touched.product_id
            and held.sales_month = touched.sales_month
    where touched.source is null
    {% endif %}
),

compared as (
    select
        *,
        sum(gross_amount_eur) over (partition by source, sales_month) as month_amount_eur,
        rank() over (partition by source, sales_month order by net_amount_eur desc) as month_rank
    from months
)

select
    {{ surrogate_key([
        'compared.source', 'compared.product_id', date_key('compared.sales_month'),
    ]) }} as product_month_key,
    products.product_key,
    compared.source,
    compared.product_id,
    products.product_name,
    products.product_category,
    compared.sales_month,
    compared.units_sold,
    compared.units_returned,
    compared.gross_amount_eur,
    compared.returns_amount_eur,
    compared.net_amount_eur,
    round(compared.units_returned / nullif(compared.units_sold, 0), 6)::number(18, 6) as return_rate,
    round(compared.gross_amount_eur / nullif(compared.month_amount_eur, 0), 6)::number(7, 6) as month_share,
    compared.month_rank::number(10, 0) as month_rank
from compared
inner join {{ ref('dim_product') }} as products
    on
        compared.source = products.source
        and compared.product_id = products.product_id
        and products.is_current
