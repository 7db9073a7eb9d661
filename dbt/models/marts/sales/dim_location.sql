with told as (
    select distinct country
    from {{ ref('int_sales_lines') }}
    where country is not null
)

select
    {{ surrogate_key(['told.country']) }} as location_key,
    told.country,
    regions.country_code,
    coalesce(regions.region, 'Unknown') as region
from told
left join {{ ref('country_regions') }} as regions on told.country = regions.country

union all

select
    {{ unknown_key() }} as location_key,
    'Unknown' as country,
    null as country_code,
    'Unknown' as region
