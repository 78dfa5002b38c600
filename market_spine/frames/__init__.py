"""Partitions as pandas DataFrames, for people's own scripts, notebooks and Dagster assets.

    from market_spine.frames import load_metrics, load_trades

    metrics = load_metrics("2026-03-04", "2026-03-12", symbols=["ACME"])
    trades = load_trades("2026-03-04", symbols="ACME", decimals="float")

Belongs here: what a person's own code imports; ``docs/frames.md`` says what each column's type is.
Does not belong here: how the platform computes. Nothing of it imports this package, so that no run pays for pandas.
"""

from market_spine.frames.loader import load_metrics, load_raw, load_trades

__all__ = ["load_metrics", "load_raw", "load_trades"]
