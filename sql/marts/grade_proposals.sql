-- One row per pair and rule that a curriculum tier could need, with the reason if it is not worth grading.
-- Each rule proposes the pairs of its class, those nearest to the top first, at most `candidates_per_rule` a query; of pairs whose
-- products read the same the first is enough. Pairs of dev queries are proposed only while nobody judged any dev query: no tier takes
-- them. Judged pairs of train and dev queries always stay: their grade costs nothing and measures the annotators.
with proposed as (
    select
        query_id,
        product_id,
        case
            when class = 'consensus' then 'easy_positive'
            when class = 'lexical_head' and count_channels > 1 then 'hard_positive'
            when class = 'lexical_head' then 'hard_positive_or_negative'
            else 'hard_negative'
        end as rule,
        best_rank::double as distance,
    from marts.disagreement_sets
    where category = $category and class != 'other'
    union all
    select
        query_id,
        product_id,
        'token_similar_negative' as rule,
        -cosine as distance,
    from marts.token_similar
    where category = $category
    union all
    select
        query_id,
        product_id,
        'judged' as rule,
        0.0 as distance,
    from staging.judgments
    where category = $category and split != 'test'
),

described as (
    select
        proposed.*,
        queries.split,
        queries.text as query,
        products.text,
        proposed.product_id != first_value(proposed.product_id) over (
            partition by proposed.query_id, products.text_hash order by proposed.rule != 'judged', proposed.product_id
        ) as is_twin,
    from proposed
    inner join staging.queries as queries on proposed.query_id = queries.query_id
    inner join staging.products as products on proposed.product_id = products.product_id
    where
        queries.category = $category and products.category = $category
        and (proposed.rule = 'judged' or queries.split = 'train' or 'dev' not in (select split from staging.judged_splits))
),

placed as (
    select
        *,
        row_number() over (partition by query_id, rule, is_twin order by distance, product_id) as place,
    from described
)

select
    $category as category,
    query_id,
    product_id,
    rule,
    place,
    case
        when rule = 'judged' then null
        when is_twin then 'same text'
        when place > $candidates_per_rule then 'over the cap'
    end as dropped,
    split,
    query,
    text,
from placed
