-- One row per product of the generated demo shop. Its price is left out: it says nothing about relevance.
select
    product_id,
    category_path,
    title,
    brand,
    description,
    attributes,
from read_parquet($products)
