"""What runs by itself: jobs and sensors over the assets of ``market_spine.otc``."""
