-- One row per product, graded pair and tier row that an encoder is trained and compared on. It moves only when enough of it
-- changed (`hold`), so that an edited title re-runs its category and no training.
select
    'product' as kind,
    category,
    null::varchar as query_id,
    product_id,
    text_hash as content,
from staging.products
union all
select
    'grade' as kind,
    grades.category,
    grades.query_id,
    grades.product_id,
    concat_ws('|', queries.text, grades.grade, grades.label, grades.confidence) as content,
from marts.corrected_grades as grades
inner join raw.queries as queries on grades.query_id = queries.query_id
union all
select
    'tier' as kind,
    category,
    query_id,
    product_id,
    tier as content,
from marts.curriculum_tiers
