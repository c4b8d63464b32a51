-- One row per human-judged pair whose product is in the category, with the query's text and split.
select
    judgments.*,
    products.category,
    queries.text,
    queries.split,
from raw.judgments as judgments
inner join staging.products as products on judgments.product_id = products.product_id
inner join raw.queries as queries on judgments.query_id = queries.query_id
where products.category = $category
