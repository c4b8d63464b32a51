-- One row per human-judged pair whose product is in the category, with the query's text and split.
with source as (
    select * from raw.judgments
),

queries as (
    select
        query_id,
        text,
        split,
    from raw.queries
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
        queries.text,
        queries.split,
        source.grade,
        source.raters,
        source.source,
    from source
    inner join products on source.product_id = products.product_id
    inner join queries on source.query_id = queries.query_id
)

select * from joined
