-- What earlier tries of a run left in the market tables.

-- name: results_of_run
-- Results of the checks that a run recorded last on their partition.
SELECT asset, day, check_name, passed, details FROM otc_quality WHERE run_id = %(run_id)s;
