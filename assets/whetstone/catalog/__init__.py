"""From a shop's files to validated tables: contracts, sources, product text, landing, slugs and query routing."""
