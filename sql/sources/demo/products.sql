-- One row per product of the generated demo shop.
with source as (
    select * from read_parquet($products)
),

renamed as (
    select
        product_id,
        category_path,
        title,
        brand,
        description,
        attributes,
    from source
)

select * from renamed
