with months as (
    select
        products.source,
        products.product_id,
        date_trunc('month', sales.ordered_at)::date as sales_month,
        sum(iff(sales.is_return, 0, sales.quantity))::number(38, 0) as units_sold,
        sum(iff(sales.is_return, -sales.quantity, 0))::number(38, 0) as units_returned,
        sum(iff(sales.is_return, 0, sales.amount_eur))::number(38, 4) as gross_amount_eur,
        sum(iff(sales.is_return, -sales.amount_eur, 0))::number(38, 4) as returns_amount_eur,
        sum(sales.amount_eur)::number(38, 4) as net_amount_eur
    from {{ ref('fct_sales') }} as sales
    inner join {{ ref('dim_product') }} as products on sales.product_key = products.product_key
    group by products.source, products.product_id, sales_month
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
