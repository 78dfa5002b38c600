"""The reports of the story that later reports refer to: trades that are cancelled, corrected, moved, repeated.

What belongs here: a report that more than one day of `sample_story.py` needs by name.
What does not: everything that happens to them.
"""

from benchmarks.sample_reports import D1, D2, D4, D5, about, late, new

CANCELLED_LATE = new(D1, 1, "10:00:01", "ACME", "24.15", "300", "live until 03-05, then cancelled")
CANCELLED_TWICE = new(D1, 2, "10:00:02", "BRVOY", "61.40", "200", "cancelled on 03-05 and once more on 03-06")
CORRECTED_TWICE = new(D1, 3, "10:00:03", "CNTLF", "8.70", "1000", "corrected on 03-05, that correction on 03-06")
DEAD_THEN_CORRECTED = new(
    D1, 4, "10:00:04", "DRGNY", "112.60", "100", "cancelled on 03-05; its correction comes too late"
)
REVERSED_UNLINKED = new(D1, 5, "10:00:05", "FIZZB", "3.43", "500", "reversed on 03-05 by a report without a link")
BROKEN = new(D1, 6, "10:00:06", "GLDRF", "0.1890", "4000", "broken the same day")
REVERSED_LINKED = new(D1, 7, "10:00:07", "INKWF", "0.9310", "2500", "reversed on 03-05 with a link")
BAD_UNTIL_CORRECTED = new(D1, 8, "10:00:08", "JOLTY", "0", "150", "price 0: quarantined until the correction of 03-05")
CANCELLED_A_WEEK_LATER = new(D1, 9, "15:59:58", "MOTHP", "14.31", "700", "cancelled on 03-12, six sessions later")
MOVED = new(D2, 1, "15:58:00", "ACME", "24.22", "900", "moved to 03-06 by a correction of 03-06")
RENAMED = new(
    D2, 2, "11:11:11", "KRTNF", "5.61", "120", "wrong symbol, corrected to LMNQY on 03-06: an outlier until then"
)
LATE_TARGET = late(
    D2, 3, D1, "LMNQY", "5.58", "350", "the trade of 03-04 whose cancel came on 03-04: cancelled on arrival"
)
CORRECTION = about(
    "correct",
    D2,
    4,
    "09:00:03",
    CORRECTED_TWICE,
    "the price of a trade of 03-04; corrected itself on 03-06",
    price="8.72",
)
SIZE_FIXED = new(D4, 1, "10:30:00", "ACME", "23.95", "10000", "its size is corrected on 03-11")
OUTLIER = new(D5, 1, "13:00:00", "JOLTY", "198.00", "100", "ten times the median: an outlier until its correction")
REPLAYED = new(D1, 20, "10:20:00", "ACME", "24.20", "400", "the report that the next line repeats")
TWIN = new(D1, 22, "10:22:00", "PLNKF", "1.28", "800", "the twin of the next line but for the id: both live")
IN_BOTH_PARTS = new(D5, 2, "10:05:00", "ACME", "24.01", "250", "in both parts of the day: counts once")
