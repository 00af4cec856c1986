-- Removes threads that nothing has happened to for long enough.
CREATE FUNCTION retire(moment bigint, most bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  which bigint[];
BEGIN
  SELECT array_agg(l.thread) INTO which FROM (
    SELECT t.thread FROM threads t
    WHERE t.keep_for IS NULL AND t.updated < moment AND t.worker IS NULL AND t.status IN ('idle', 'failed')
      AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.thread = t.thread AND r.status IN ('pending', 'running'))
    ORDER BY t.updated LIMIT most FOR UPDATE SKIP LOCKED) AS l;
  IF which IS NULL THEN RETURN 0; END IF;
  PERFORM erase(which);
  RETURN cardinality(which);
END $$;
