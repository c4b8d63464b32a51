-- One row per human-judged pair of the shop, whatever its category: a product that moves changes nothing here.
select
    query_id,
    product_id,
    grade,
from raw.judgments
