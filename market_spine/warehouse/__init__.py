"""PostgreSQL: connections, the declared schema, migrations, named SQL, replacing a partition, the embedded server.

Belongs here: how we talk to the database, whatever the rows mean.
Does not belong here: what a trade report is (``market_spine.otc``), Dagster, HTTP.
"""
