-- One row per graded pair of a train or dev query, with the audit's corrections in place: what training reads.
select
    grades.category,
    grades.query_id,
    grades.product_id,
    grades.split,
    coalesce(corrections.new_grade, grades.grade) as grade,
    coalesce(corrections.new_label, grades.label) as label,
    coalesce(corrections.new_confidence, grades.confidence) as confidence,
    if(corrections.query_id is null, grades.settled_by, 'audit') as settled_by,
from marts.grades as grades
left join marts.grade_audit as corrections
    on
        grades.category = corrections.category
        and grades.query_id = corrections.query_id
        and grades.product_id = corrections.product_id
        and corrections.supersedes
where grades.category = $category
