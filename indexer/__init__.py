"""How does a collection become an index? Engines, the batch job and publishing."""
