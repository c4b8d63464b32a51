-- One row per query x product that any channel found, with the rank in each.
-- Mining lives on where the channels disagree ([A] section 3): `consensus` was found by all; `lexical_head` is in the top of a
-- lexical channel and absent from the dense run; `lone` is in the top of exactly one channel; everything else is `other`.
select
    queries.split,
    ranks.*,
    case
        when ranks.count_channels = $count_channels then 'consensus'
        when ranks.best_dense_rank is null and ranks.lexical_rank <= $hard_positive_rank then 'lexical_head'
        when ranks.count_channels = 1 and ranks.best_rank <= $hard_negative_rank then 'lone'
        else 'other'
    end as class,
from marts.run_ranks as ranks
inner join staging.queries as queries on ranks.query_id = queries.query_id
where ranks.category = $category and queries.category = $category
