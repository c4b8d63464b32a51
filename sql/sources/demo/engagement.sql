-- One row per query and product that the demo shop's simulated engine showed at least once.
with source as (
    select * from read_parquet($engagement)
),

renamed as (
    select
        query_id,
        product_id,
        impressions::bigint as impressions,
        clicks::bigint as clicks,
        add_to_carts::bigint as add_to_carts,
        purchases::bigint as purchases,
        mean_rank::double as mean_rank,
    from source
)

select * from renamed
