"""Benchmarks: generated input, the bundled samples and the measurements behind `make bench`.

What belongs here: code that makes or times data and is never imported by the product.
What does not: anything `market_spine` needs at run time.
"""
