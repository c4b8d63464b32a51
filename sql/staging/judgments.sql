-- One row per human-judged pair whose product is in the category, with the query's text and split.
select
    judgments.*,
    queries.text,
    queries.split,
from raw.judgments as judgments
inner join raw.queries as queries on judgments.query_id = queries.query_id
where judgments.category = $category
