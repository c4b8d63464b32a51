-- One row per query that is routed to the category.
-- A query belongs to at most three categories, each with a probability.
with routes as (
    select
        query_id,
        category,
        probability,
    from staging.query_routes
    where category = $category
),

source as (
    select
        query_id,
        text,
        frequency,
        segment,
        split,
    from raw.queries
),

joined as (
    select
        source.query_id,
        routes.category,
        source.text,
        source.frequency,
        source.segment,
        source.split,
        routes.probability,
    from routes
    inner join source on routes.query_id = source.query_id
)

select * from joined
