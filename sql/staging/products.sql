-- One row per product of the category.
-- The text is what encoders and annotators see; its hash tells whether they have to look again.
select * exclude (category_name)
from raw.catalog
where category = $category
