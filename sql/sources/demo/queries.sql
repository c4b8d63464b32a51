-- One row per query of the generated demo shop; its split is the generator's.
select * from read_parquet($queries)
