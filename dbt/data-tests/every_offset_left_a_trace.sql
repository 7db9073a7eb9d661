{{ config(severity='warn') }}

-- An offset that is neither a row nor a dead letter: a transaction marker, a tombstone, or a lost message.
-- It cannot come back, so it warns for good instead of stopping every later publication.
select *
from {{ ref('mart_reconciliation') }}
where unit_kind = 'partition' and rows_unexplained > 0
