-- Files that were taken back: when and by whom. Only adds, so that it may run while old code runs.

ALTER TABLE otc_files ADD COLUMN voided_at TIMESTAMP WITH TIME ZONE;
ALTER TABLE otc_files ADD COLUMN voided_by TEXT;
COMMENT ON COLUMN otc_files.voided_at IS 'When it was taken back; problem says why.';
COMMENT ON COLUMN otc_files.voided_by IS 'Who took it back.';
