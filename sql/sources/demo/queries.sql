-- One row per query of the generated demo shop; its split is the generator's.
with source as (
    select * from read_parquet($queries)
),

renamed as (
    select
        query_id,
        text,
        frequency::bigint as frequency,
        split,
    from source
)

select * from renamed
