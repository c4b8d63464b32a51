-- One row per query and product that the demo shop's simulated engine showed at least once.
select * from read_parquet($engagement)
