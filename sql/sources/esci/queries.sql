-- One row per query of the locale.
-- `test` as its authors gave it; `dev` is a fifth of their train queries, by hash, so that a query never moves.
select
    query_id::varchar as query_id,
    min(query) as text,
    null::bigint as frequency,
    if(min(split) = 'train' and left(md5(query_id::varchar), 8) < '33333333', 'dev', min(split)) as split,
from read_parquet($examples)
where product_locale = $locale
group by query_id
