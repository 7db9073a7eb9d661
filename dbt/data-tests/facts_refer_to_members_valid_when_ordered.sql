-- Each fact refers to a day, a country and an order that exist, and to a customer and a product version
-- that were valid when it was ordered.
with sales as (
    select *
    from {{ ref('fct_sales') }}
    where {{ is_unjudged('sales_key') }}
),

orders as (
    select order_key
    from {{ ref('fct_orders') }}
    where order_key in (select sales.order_key from sales)
)

select sales.sales_key
from sales
left join {{ ref('dim_date') }} as days on sales.date_key = days.date_key
left join {{ ref('dim_location') }} as locations on sales.location_key = locations.location_key
left join orders on sales.order_key = orders.order_key
left join {{ ref('dim_customer') }} as customers
    on
        sales.customer_key = customers.customer_key
        and sales.ordered_at >= customers.valid_from
        and sales.ordered_at < customers.valid_to
left join {{ ref('dim_product') }} as products
    on
        sales.product_key = products.product_key
        and sales.ordered_at >= products.valid_from
        and sales.ordered_at < products.valid_to
where
    days.date_key is null
    or locations.location_key is null
    or orders.order_key is null
    or customers.customer_key is null
    or products.product_key is null
