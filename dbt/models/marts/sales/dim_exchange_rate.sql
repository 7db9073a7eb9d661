select
    rates.currency || '-' || days.date_key::varchar as exchange_rate_key,
    days.date_key,
    rates.currency,
    rates.eur_rate
from {{ ref('exchange_rates') }} as rates
inner join {{ ref('dim_date') }} as days
    on
        rates.valid_from <= days.date_day
        and rates.valid_to > days.date_day
