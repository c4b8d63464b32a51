-- One row per human-judged pair of the shop, as evaluation scores them. It moves only when enough of it changed (`hold`), so that a new
-- category or an edited judgment runs its category and no evaluation.
select
    query_id,
    product_id,
    grade,
from raw.judgments
