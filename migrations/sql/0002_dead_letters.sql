-- Dead letters: sessions whose last try failed. Only adds, so that it may run before or while the old code runs.

CREATE TABLE otc_dead_letters (
    id BIGINT GENERATED ALWAYS AS IDENTITY NOT NULL,
    asset TEXT COLLATE "C" NOT NULL,
    partition DATE NOT NULL,
    run_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    tries INTEGER NOT NULL,
    retries INTEGER NOT NULL,
    first_failed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    last_failed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    retry_run_id TEXT,
    resolved_at TIMESTAMP WITH TIME ZONE,
    resolution TEXT COLLATE "C",
    resolved_by TEXT,
    note TEXT,
    PRIMARY KEY (id)
);

CREATE UNIQUE INDEX otc_dead_letters_open ON otc_dead_letters (asset, partition) WHERE resolved_at IS NULL;
CREATE INDEX otc_dead_letters_partition ON otc_dead_letters (asset, partition, last_failed_at);
COMMENT ON TABLE otc_dead_letters IS 'Sessions whose last try failed, until they are retried, discarded or materialized.';
COMMENT ON COLUMN otc_dead_letters.id IS 'Number of the dead letter.';
COMMENT ON COLUMN otc_dead_letters.asset IS 'First asset of the session that could not be built.';
COMMENT ON COLUMN otc_dead_letters.partition IS 'Session.';
COMMENT ON COLUMN otc_dead_letters.run_id IS 'Dagster run that failed last.';
COMMENT ON COLUMN otc_dead_letters.reason IS 'Why, in one line.';
COMMENT ON COLUMN otc_dead_letters.tries IS 'Runs that failed on it since it was opened.';
COMMENT ON COLUMN otc_dead_letters.retries IS 'How often somebody had it retried.';
COMMENT ON COLUMN otc_dead_letters.first_failed_at IS 'When the first of these runs failed.';
COMMENT ON COLUMN otc_dead_letters.last_failed_at IS 'When the last of them failed.';
COMMENT ON COLUMN otc_dead_letters.retry_run_id IS 'Dagster run of the last retry.';
COMMENT ON COLUMN otc_dead_letters.resolved_at IS 'When it was resolved; NULL = open.';
COMMENT ON COLUMN otc_dead_letters.resolution IS 'retried, discarded or materialized (by a run that was no retry of it).';
COMMENT ON COLUMN otc_dead_letters.resolved_by IS 'Who discarded it, or the Dagster run that materialized the session.';
COMMENT ON COLUMN otc_dead_letters.note IS 'Why it was discarded.';
