-- An event that breaks the contract is no line's origin.
select rejects.event_key
from {{ ref('int_sales_rejects') }} as rejects
inner join {{ ref('int_sales_lines') }} as sales
    on
        rejects.arrived_at = sales.arrived_at
        and rejects.arrival_id = sales.arrival_id
