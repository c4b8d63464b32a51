-- One row per human-judged pair whose product is in the category.
with source as (
    select * from raw.judgments
),

products as (
    select
        product_id,
        category,
    from staging.products
    where category = $category
),

joined as (
    select
        source.query_id,
        source.product_id,
        products.category,
        source.grade,
        source.raters,
        source.source,
    from source
    inner join products on source.product_id = products.product_id
)

select * from joined
