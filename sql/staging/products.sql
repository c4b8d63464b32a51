-- One row per product of the category.
-- The text is what encoders and annotators see; its hash tells whether they have to look again.
with source as (
    select * from raw.catalog
    where category = $category
),

renamed as (
    select
        product_id,
        category,
        category_path,
        title,
        brand,
        description,
        attributes,
        text,
        text_hash,
    from source
)

select * from renamed
