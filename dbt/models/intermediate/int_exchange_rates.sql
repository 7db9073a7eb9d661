{{ config(
    materialized='incremental',
    incremental_strategy='merge',
    unique_key='rate_key',
    post_hook="{{ forget_untold(ref('exchange_rates'), ['currency', 'valid_from']) }}",
) }}

with rates as (
    select
        {{ surrogate_key(['currency', date_key('valid_from')]) }} as rate_key,
        currency,
        valid_from,
        valid_to,
        eur_rate
    from {{ ref('exchange_rates') }}
)

select
    rates.*,
    {{ next_load() }} as load_number
from rates
{% if is_incremental() %}
left join {{ this }} as held on rates.rate_key = held.rate_key
where
    held.rate_key is null
    or rates.valid_to <> held.valid_to
    or rates.eur_rate <> held.eur_rate
{% endif %}
