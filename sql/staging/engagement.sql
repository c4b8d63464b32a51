-- One row per query x product that shoppers saw, for products of the category.
select
    engagement.*,
    products.category,
from raw.engagement as engagement
inner join staging.products as products on engagement.product_id = products.product_id
where products.category = $category
