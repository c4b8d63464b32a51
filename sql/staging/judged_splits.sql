-- One row per split that has a judged query: whether dev queries are judged is asked of the whole shop, and seldom changes.
select distinct queries.split
from raw.judgments as judgments
inner join raw.queries as queries on judgments.query_id = queries.query_id
