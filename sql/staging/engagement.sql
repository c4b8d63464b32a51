-- One row per query x product that shoppers saw, for products of the category.
select * from raw.engagement
where category = $category
