with bounds as (
    select
        date_trunc('year', min(ordered_at))::date as first_day,
        last_day(max(ordered_at)::date, 'year') as last_day
    from {{ ref('int_sales_lines') }}
),

-- As many days as the contract's rule ordered_at_plausible lets in: 2000 to 2100.
numbers as (
    select row_number() over (order by seq4()) - 1 as n
    from table(generator(rowcount => 36890))
),

days as (
    select dateadd(day, numbers.n, bounds.first_day)::date as date_day
    from bounds
    inner join numbers on numbers.n <= datediff(day, bounds.first_day, bounds.last_day)
)

select
    {{ date_key('date_day') }} as date_key,
    date_day,
    year(date_day)::number(4, 0) as year_number,
    quarter(date_day)::number(1, 0) as quarter_number,
    month(date_day)::number(2, 0) as month_number,
    monthname(date_day) as month_name,
    weekiso(date_day)::number(2, 0) as iso_week_number,
    dayofweekiso(date_day)::number(1, 0) as iso_weekday_number,
    dayname(date_day) as weekday_name,
    dayofweekiso(date_day) >= 6 as is_weekend
from days
