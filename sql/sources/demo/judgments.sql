-- One row per judged pair of the generated demo shop; `raters` holds the single grades where three humans judged.
with source as (
    select * from read_parquet($judgments)
),

renamed as (
    select
        query_id,
        product_id,
        grade::integer as grade,
        raters::integer[] as raters,
        'demo' as source,
    from source
)

select * from renamed
