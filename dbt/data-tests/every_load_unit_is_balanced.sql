-- The accounting identity: each row read is loaded, quarantined or a known duplicate, and RAW agrees.
-- Offsets of a partition that left no trace are another test's: a gap in Kafka can be legitimate.
select *
from {{ ref('mart_reconciliation') }}
where
    not is_balanced
    and (unit_kind = 'file' or rows_found <> rows_loaded or rows_unexplained < 0)
