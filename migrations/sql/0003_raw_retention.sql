-- Raw reports past their time are dropped; their files remember it. Only adds, so that it may run while old code runs.

ALTER TABLE otc_files ADD COLUMN expired_at TIMESTAMP WITH TIME ZONE;
COMMENT ON COLUMN otc_files.expired_at IS 'When retention dropped its reports from otc_trades_raw.';
