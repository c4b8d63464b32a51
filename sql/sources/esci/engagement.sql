-- One row per query and product in OpenSearch's User Behavior Insights events,
-- a bulk file in which action and document lines alternate. Only queries and products of this catalog are kept,
-- matched by the query's text and the object's id: the log covers many others.
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
    select
        ubi_query_id,
        min(user_query) as user_query,
    from documents
    where action is null and user_query is not null
    group by ubi_query_id
),

events as (
    select
        documents.product_id,
        documents.action,
        lower(coalesce(documents.user_query, ubi_queries.user_query)) as text,
        -- Some applications count positions from 0.
        documents.ordinal
        + if(min(documents.ordinal) over (partition by documents.application) < 1, 1, 0) as position,
    from documents
    left join ubi_queries on documents.ubi_query_id = ubi_queries.ubi_query_id
    where documents.action in ('impression', 'click', 'item_click', 'add_to_cart', 'purchase')
),

queries as (
    select
        query_id::varchar as query_id,
        lower(min(query)) as text,
    from read_parquet($examples)
    where product_locale = $locale
    group by query_id
),

products as (
    select product_id
    from read_parquet($products)
    where product_locale = $locale
)

select
    queries.query_id,
    events.product_id,
    count(*) filter (where events.action = 'impression') as impressions,
    count(*) filter (where events.action in ('click', 'item_click')) as clicks,
    count(*) filter (where events.action = 'add_to_cart') as add_to_carts,
    count(*) filter (where events.action = 'purchase') as purchases,
    avg(events.position) filter (where events.position >= 1) as mean_rank,
from events
inner join queries on events.text = queries.text
where events.product_id in (select products.product_id from products)
group by queries.query_id, events.product_id
