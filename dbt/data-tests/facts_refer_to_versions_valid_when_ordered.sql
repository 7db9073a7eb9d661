-- Each fact refers to a customer and a product version that exist and were valid when it was ordered.
select sales.sales_key
from {{ ref('fct_sales') }} as sales
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
where customers.customer_key is null or products.product_key is null
