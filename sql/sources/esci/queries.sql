-- One row per query of the locale.
-- `test` as its authors gave it; `dev` is a fifth of their train queries, by hash, so that a query never moves.
with queries as (
    select
        query_id::varchar as query_id,
        min(query) as text,
        min(split) as split,
    from read_parquet($examples)
    where product_locale = $locale
    group by query_id
)

select
    query_id,
    text,
    null::bigint as frequency,
    if(split = 'train' and left(md5(query_id), 8) < '33333333', 'dev', split) as split,
from queries
