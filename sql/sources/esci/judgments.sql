-- One row per judged pair of the locale. The raters' single grades weren't published.
select
    query_id::varchar as query_id,
    product_id,
    case esci_label
        when 'E' then 4
        when 'S' then 2
        when 'C' then 1
        when 'I' then 0
    end as grade,
    null::integer[] as raters,
    'esci' as source,
from read_parquet($examples)
where product_locale = $locale
