-- One row per query that is routed to the category.
-- A query belongs to at most three categories. Its probability stays in query_routes: it moves a little with any product of the
-- catalog, and would make every category's runs stale.
with routes as (
    select
        query_id,
        category,
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
    from routes
    inner join source on routes.query_id = source.query_id
)

select * from joined
