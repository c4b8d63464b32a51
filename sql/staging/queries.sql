-- One row per query that is routed to the category.
-- A query belongs to at most three categories. Its probability stays in query_routes: it moves a little with any product of the
-- catalog, and would make every category's runs stale.
select
    queries.*,
    routes.category,
from raw.queries as queries
inner join staging.query_routes as routes on queries.query_id = routes.query_id
where routes.category = $category
