-- One row per pair that is worth grading: what some rule proposed and did not drop.
-- `place` is its best place in a rule: where money is short, low places are graded first.
select
    category,
    query_id,
    product_id,
    split,
    query,
    text,
    list(distinct rule order by rule) as rules,
    min(place) as place,
from marts.grade_proposals
where category = $category and dropped is null
group by all
