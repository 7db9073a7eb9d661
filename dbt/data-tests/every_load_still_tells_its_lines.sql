-- What a replay withdrew from RAW is not sold any more: RAW holds at least as many rows of each arrival as
-- lines came from it. All are counted in every build: withdrawal brings no new line that would be judged.
with held as (
    select
        channel,
        arrived_at,
        count(*) as line_count
    from {{ ref('int_sales_lines') }}
    group by channel, arrived_at
),

told as (
    select
        channel,
        arrived_at,
        count(*) as telling_count
    from {{ ref('int_sales_tellings') }}
    group by channel, arrived_at
)

select
    held.*,
    told.telling_count
from held
left join told on held.channel = told.channel and held.arrived_at = told.arrived_at
where coalesce(told.telling_count, 0) < held.line_count
