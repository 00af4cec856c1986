-- What a run that is still to begin may go on from stays.
CREATE OR REPLACE FUNCTION prune_all(of uuid) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  t threads;
  removed bigint;
BEGIN
  SELECT * INTO t FROM threads
  WHERE id = of AND worker IS NULL AND status IN ('idle', 'interrupted', 'failed') FOR NO KEY UPDATE;
  IF NOT FOUND OR EXISTS (SELECT 1 FROM runs r WHERE r.thread = t.thread AND r.status = 'pending') THEN RETURN 0; END IF;
  DELETE FROM entries WHERE thread = t.thread;
  GET DIAGNOSTICS removed = ROW_COUNT;
  DELETE FROM snapshots WHERE thread = t.thread;
  DELETE FROM pieces WHERE thread = t.thread;
  DELETE FROM effects WHERE thread = t.thread;
  DELETE FROM questions WHERE thread = t.thread;
  UPDATE inbox SET consumed = true, payload = '' WHERE thread = t.thread AND NOT consumed;
  UPDATE threads SET status = 'idle', wake_at = next_turn(t.thread) WHERE thread = t.thread;
  RETURN removed;
END $$;
