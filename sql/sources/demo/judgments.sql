-- One row per judged pair of the generated demo shop; `raters` holds the single grades where three humans judged.
select
    *,
    'demo' as source,
from read_parquet($judgments)
