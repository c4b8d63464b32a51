-- One row per human-judged pair of a train or dev query, as annotators learn from it. It moves only when enough of it changed (`hold`).
select
    judgments.query_id,
    judgments.product_id,
    queries.split,
    queries.text as query,
    products.text_hash,
    judgments.grade::bigint as grade,
from raw.judgments as judgments
inner join raw.queries as queries on judgments.query_id = queries.query_id
inner join staging.products as products on judgments.product_id = products.product_id
where queries.split in ('train', 'dev')
