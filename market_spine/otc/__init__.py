"""The domain: OTC trade reports, from landed files to trades and daily metrics.

Belongs here: what a source's file looks like, what a report means, what a day of them adds up to.
Does not belong here: how PostgreSQL is reached (``warehouse``), and any Dagster outside the thin asset modules.
"""
