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

events as (
    select
        product_id,
        action,
        -- A document without an action is a query; some events repeat its text, the others refer to it.
        lower(coalesce(user_query, min(user_query) filter (where action is null) over (partition by ubi_query_id))) as text,
        -- Some applications count positions from 0.
        ordinal + if(min(ordinal) over (partition by application) < 1, 1, 0) as position,
    from documents
    where
        (action is null or action in ('impression', 'click', 'item_click', 'add_to_cart', 'purchase'))
        and coalesce(ubi_query_id, user_query) is not null
),

queries as (
    select
        query_id::varchar as query_id,
        lower(min(query)) as text,
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
    avg(events.position) filter (where events.position >= 1) as mean_rank,
from events
inner join queries on events.text = queries.text
where
    events.action is not null
    and events.product_id in (
        select product_id from read_parquet($products)
        where product_locale = $locale
    )
group by queries.query_id, events.product_id
