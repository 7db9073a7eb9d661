-- Rates of one currency meet end to start, from the first day that the contract lets in to the end of time.
with neighbours as (
    select
        *,
        lag(valid_to) over (partition by currency order by valid_from) as previous_to,
        lead(valid_from) over (partition by currency order by valid_from) as next_from
    from {{ ref('exchange_rates') }}
)

select *
from neighbours
where
    coalesce(eur_rate, 0) <= 0
    or valid_from >= valid_to
    or valid_from <> coalesce(previous_to, '2000-01-01'::date)
    or valid_to <> coalesce(next_from, '{{ var("end_of_time") }}'::timestamp_ntz::date)
