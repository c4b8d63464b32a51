-- One row per query and product in OpenSearch's User Behavior Insights events (a bulk file: action and document lines alternate).
-- Only queries and products of this catalog are kept, matched by the query's text and the object's id: the log covers many others.
with documents as (
    select
        json ->> 'application' as application,
        json ->> 'action_name' as action,
        json ->> 'query_id' as ubi_query_id,
        json ->> 'user_query' as user_query,
        json ->> '$.event_attributes.object.object_id' as product_id,
        (json ->> '$.event_attributes.position.ordinal')::double as ordinal,
    from read_ndjson_objects($events)
),

-- A document without an action is a query; some events repeat its text, the others refer to it.
ubi_queries as (
    select ubi_query_id, min(user_query) as user_query
    from documents
    where action is null and user_query is not null
    group by ubi_query_id
),

events as (
    select
        coalesce(documents.user_query, ubi_queries.user_query) as user_query,
        documents.product_id,
        documents.action,
        -- Some applications count positions from 0.
        documents.ordinal + if(min(documents.ordinal) over (partition by documents.application) < 1, 1, 0) as rank,
    from documents
    left join ubi_queries using (ubi_query_id)
    where documents.action in ('impression', 'click', 'item_click', 'add_to_cart', 'purchase')
),

queries as (
    select query_id::varchar as query_id, lower(min(query)) as text
    from read_parquet($examples)
    where product_locale = $locale
    group by query_id
)

select
    queries.query_id,
    events.product_id,
    count(*) filter (where events.action = 'impression') as impressions,
    count(*) filter (where events.action in ('click', 'item_click')) as clicks,
    count(*) filter (where events.action = 'add_to_cart') as add_to_carts,
    count(*) filter (where events.action = 'purchase') as purchases,
    avg(events.rank) filter (where events.rank >= 1) as mean_rank,
from events
join queries on lower(events.user_query) = queries.text
semi join read_parquet($products) as products on events.product_id = products.product_id
group by queries.query_id, events.product_id
