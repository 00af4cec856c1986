-- A commit may move its thread to another program.
ALTER FUNCTION settle(bigint[], integer[], bigint[], jsonb[]) RENAME TO settle_rest;

CREATE FUNCTION settle(numbers bigint[], verdicts integer[], ats bigint[], details jsonb[])
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM settle_rest(numbers, verdicts, ats, details);
  WITH moved AS (
    SELECT c.thread, c.detail -> 'program' ->> 'graph' AS graph, c.detail -> 'program' ->> 'version' AS version
    FROM unnest(numbers, verdicts, details) AS c (thread, verdict, detail)
    WHERE c.verdict = 1 AND c.detail ? 'program'
  ), of_runs AS (
    UPDATE runs r SET graph = m.graph, version = m.version FROM moved m
    WHERE r.thread = m.thread AND r.status IN ('pending', 'running', 'interrupted')
  )
  UPDATE threads t SET graph = m.graph, version = m.version FROM moved m WHERE t.thread = m.thread;
END $$;
