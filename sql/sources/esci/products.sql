-- One row per product of the locale.
-- Price, stars and ratings are left out: they change daily and say nothing about relevance.
with source as (
    -- The official file has no `category` (ESCI-S adds it): the empty left side gives the column its type.
    select null::varchar[] as category
    where false
    union all by name
    select * from read_parquet($products)
)

select
    product_id,
    category as category_path,
    product_title as title,
    product_brand as brand,
    regexp_replace(
        concat_ws(' ', nullif(product_description, ''), nullif(product_bullet_point, '')),
        '<\s*/?\s*(a|b|br|div|em|font|h[1-6]|hr|i|img|li|ol|p|span|strong|sub|sup|table|td|tr|u|ul)\b[^<>]*>'
        || '|&[a-z]+;|&#[0-9]+;',
        ' ',
        'gi'
    ) as description,
    if(product_color is null, map([]::varchar[], []::varchar[]), map(['color'], [product_color])) as attributes,
from source
where product_locale = $locale
