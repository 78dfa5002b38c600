"""Market Spine: OTC trade reports become right, queryable daily metrics."""
