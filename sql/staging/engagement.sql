-- One row per query x product that shoppers saw, for products of the category.
with source as (
    select * from raw.engagement
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
        source.impressions,
        source.clicks,
        source.add_to_carts,
        source.purchases,
        source.mean_rank,
    from source
    inner join products on source.product_id = products.product_id
)

select * from joined
