"""Dagster's storage seen as an execution ledger: executions, lanes, queue, dead letters, backfills, retention.

What it is: reads go by SQL to Dagster's own database, in milliseconds and without importing Dagster; what starts or
ends runs goes through the webserver's GraphQL, so that the instance's own queue and launcher do it.
Belongs here: what an operator asks and orders. Does not belong here: commands and their printing (``cli``), what runs
by itself (``automation``), what a trade report is (``otc``).
"""
