-- One row per graded pair of a train query that belongs to a curriculum tier ([A] section 3.2).
-- Easy positives were found by every channel; hard positives only by words, not by the encoder; hard negatives by one channel
-- alone; token-similar negatives share words and were found by none. Grades between the bounds, and grades that their annotator
-- was not sure of, belong to no tier. A pair is in one tier; a query keeps at most 50 positives and 50 negatives, shared fairly
-- between the tiers of a side.
with tiered as (
    select
        grades.query_id,
        grades.product_id,
        grades.split,
        grades.grade,
        grades.label,
        grades.confidence,
        grades.settled_by,
        ranks.lexical_rank,
        ranks.best_dense_rank,
        ranks.best_rank,
        alike.cosine,
        case
            when grades.grade >= $relevant_grade and ranks.class = 'consensus' then 'easy_positive'
            when grades.grade >= $relevant_grade and ranks.class = 'lexical_head' then 'hard_positive'
            when
                grades.grade <= $irrelevant_grade and ranks.count_channels = 1 and ranks.best_rank <= $hard_negative_rank
                then 'hard_negative'
            when
                grades.grade <= $irrelevant_grade and ranks.class is null and alike.cosine is not null
                then 'token_similar_negative'
        end as tier,
    from marts.corrected_grades as grades
    left join marts.disagreement_sets as ranks
        on grades.category = ranks.category and grades.query_id = ranks.query_id and grades.product_id = ranks.product_id
    left join marts.token_similar as alike
        on grades.category = alike.category and grades.query_id = alike.query_id and grades.product_id = alike.product_id
    where grades.category = $category and grades.split = 'train' and grades.confidence >= $tier_confidence
),

sided as (
    select
        *,
        tier in ('easy_positive', 'hard_positive') as is_positive,
        row_number() over (
            partition by query_id, tier order by confidence desc, coalesce(best_rank, 0), cosine desc, product_id
        ) as place_in_tier,
    from tiered
    where tier is not null
)

select
    $category as category,
    query_id,
    product_id,
    split,
    tier,
    case tier
        when 'easy_positive' then if(grade = $top_grade, [1, 3], [3])
        when 'hard_positive' then [2, 3]
        when 'hard_negative' then [2]
        else [3]
    end as stages,
    grade,
    label,
    confidence,
    settled_by,
    lexical_rank,
    best_dense_rank as dense_rank,
    cosine,
from sided
qualify
    row_number() over (partition by query_id, is_positive order by place_in_tier, tier, product_id)
    <= if(is_positive, $positives_per_query, $negatives_per_query)
