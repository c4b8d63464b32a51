-- One row per graded pair of a train or dev query, with the audit's corrections in place: what training reads.
with corrections as (
    select * from marts.grade_audit
    where category = $category and supersedes
),

grades as (
    select * from marts.grades
    where category = $category
),

final as (
    select
        grades.category,
        grades.query_id,
        grades.product_id,
        grades.split,
        coalesce(corrections.new_grade, grades.grade) as grade,
        coalesce(corrections.new_label, grades.label) as label,
        coalesce(corrections.new_confidence, grades.confidence) as confidence,
        if(corrections.query_id is null, grades.settled_by, 'audit') as settled_by,
    from grades
    left join corrections on grades.query_id = corrections.query_id and grades.product_id = corrections.product_id
)

select * from final
