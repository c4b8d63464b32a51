-- One row per query that is routed to the category.
-- A query belongs to at most three categories. Its probability stays in query_routes: it moves a little with any product of the
-- catalog, and would make every category's runs stale.
select
    queries.*,
    routed.category,
from raw.queries as queries
inner join staging.routed_queries as routed on queries.query_id = routed.query_id
where routed.category = $category
