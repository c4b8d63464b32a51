-- One row per pair that a curriculum tier could need, and so is worth grading.
-- Each rule proposes at most `candidates_per_rule` pairs a query, those nearest to the top first; judged pairs of train and dev
-- queries always stay in, because their grade costs nothing and measures the annotators.
with found as (
    select * from marts.disagreement_sets
    where category = $category
),

ruled as (
    select
        *,
        case
            when class = 'consensus' then 'easy_positive'
            when class = 'lexical_head' and count_channels > 1 then 'hard_positive'
            when class = 'lexical_head' then 'hard_positive_or_negative'
            when class = 'lone' then 'hard_negative'
        end as rule,
    from found
    where class != 'other'
),

ranked as (
    select
        query_id,
        product_id,
        rule,
        row_number() over (partition by query_id, rule order by best_rank, product_id) as place,
    from ruled
),

similar_pairs as (
    select
        query_id,
        product_id,
        'token_similar_negative' as rule,
    from marts.token_similar
    where category = $category
),

judged as (
    select
        judgments.query_id,
        judgments.product_id,
        'judged' as rule,
    from staging.judgments as judgments
    inner join staging.queries as queries on judgments.query_id = queries.query_id
    where judgments.category = $category and queries.category = $category and queries.split != 'test'
),

proposed as (
    select
        query_id,
        product_id,
        rule,
    from ranked
    where place <= $candidates_per_rule
    union all
    select * from similar_pairs
    union all
    select * from judged
),

grouped as (
    select
        query_id,
        product_id,
        list(distinct rule order by rule) as rules,
    from proposed
    group by query_id, product_id
),

final as (
    select
        grouped.query_id,
        grouped.product_id,
        queries.split,
        queries.text as query,
        products.text,
        grouped.rules,
    from grouped
    inner join staging.queries as queries on grouped.query_id = queries.query_id
    inner join staging.products as products on grouped.product_id = products.product_id
    where queries.category = $category and products.category = $category
)

select
    $category as category,
    *,
from final
