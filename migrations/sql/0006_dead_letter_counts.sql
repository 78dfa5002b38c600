-- How many dead letters retention has removed. Only adds, so that it may run before or while the old code runs; letters
-- that the old code removes meanwhile are not counted.

CREATE TABLE otc_dead_letter_counts (
    asset TEXT COLLATE "C" NOT NULL,
    letters BIGINT NOT NULL,
    PRIMARY KEY (asset)
);

COMMENT ON TABLE otc_dead_letter_counts IS 'Dead letters that are gone, so that their count never falls.';
COMMENT ON COLUMN otc_dead_letter_counts.asset IS 'First asset of the sessions that could not be built.';
COMMENT ON COLUMN otc_dead_letter_counts.letters IS 'Dead letters of it that retention has removed.';
