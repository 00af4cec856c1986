-- Under which fence entries that are gone were stored, to recognise one that comes again.
CREATE TABLE bygone (
  thread bigint NOT NULL,
  fence  bigint NOT NULL,
  first  bigint NOT NULL,
  last   bigint NOT NULL,
  PRIMARY KEY (thread, fence)
);

CREATE FUNCTION remember_bygone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO bygone AS b (thread, fence, first, last)
  SELECT g.thread, g.fence, min(g.seq), max(g.seq) FROM gone g GROUP BY g.thread, g.fence
  ON CONFLICT (thread, fence) DO UPDATE SET first = least(b.first, excluded.first), last = greatest(b.last, excluded.last);
  RETURN NULL;
END $$;
CREATE TRIGGER entries_bygone AFTER DELETE ON entries REFERENCING OLD TABLE AS gone
  FOR EACH STATEMENT EXECUTE FUNCTION remember_bygone();

-- Of a thread that is gone nothing is left.
CREATE FUNCTION forget_bygone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM bygone b USING gone g WHERE b.thread = g.thread;
  RETURN NULL;
END $$;
CREATE TRIGGER threads_bygone AFTER DELETE ON threads REFERENCING OLD TABLE AS gone
  FOR EACH STATEMENT EXECUTE FUNCTION forget_bygone();

-- A commit whose entry is gone is known all the same. Nobody looks for that in one that is simply the next.
CREATE OR REPLACE FUNCTION commits(ids uuid[], fences bigint[], seqs bigint[], parents bigint[], of_runs uuid[], ats bigint[],
  all_marks text[], all_checkpoints text[], all_events text[], all_holes bytea[], all_writes text[], bodies text[],
  rests text[], wakes bigint[], details jsonb[])
RETURNS TABLE (place bigint, verdict integer, cancel boolean, inbox boolean) LANGUAGE plpgsql AS $$
DECLARE
  numbers bigint[];
  verdicts integer[];
  stirred boolean[];
BEGIN
  PERFORM 1 FROM threads WHERE id = ANY (ids) ORDER BY thread FOR NO KEY UPDATE;
  SELECT array_agg(v.thread ORDER BY v.place), array_agg(v.verdict ORDER BY v.place), array_agg(v.news ORDER BY v.place)
  INTO numbers, verdicts, stirred
  FROM (
    SELECT c.place, coalesce(t.thread, 0) AS thread, coalesce(t.news, false) AS news, CASE
      WHEN t.thread IS NULL THEN 3
      WHEN EXISTS (SELECT 1 FROM entries e WHERE e.thread = t.thread AND e.seq = c.seq AND e.fence = c.fence) THEN 2
      WHEN (t.worker IS NULL OR t.fence <> c.fence OR c.seq <= t.seq) AND EXISTS (
        SELECT 1 FROM bygone b
        WHERE b.thread = t.thread AND b.fence = c.fence AND c.seq BETWEEN b.first AND b.last) THEN 2
      WHEN t.worker IS NULL OR t.fence <> c.fence THEN 3
      WHEN c.seq <> 1 + greatest(t.seq,
        (SELECT e.seq FROM entries e WHERE e.thread = t.thread ORDER BY e.seq DESC LIMIT 1)) THEN 4
      WHEN c.detail IS NOT NULL AND EXISTS (
        SELECT 1 FROM questions q WHERE q.thread = t.thread AND q.closing IS NULL AND q.answer IS NOT NULL
          AND q.id = ANY (texts(c.detail -> 'unanswered'))) THEN 4
      WHEN c.parent <> 0 AND NOT EXISTS (
        SELECT 1 FROM entries e WHERE e.thread = t.thread AND e.seq = c.parent) THEN 5
      WHEN c.detail IS NOT NULL AND EXISTS (
        SELECT 1 FROM jsonb_to_recordset(c.detail -> 'runs') AS x (run uuid)
        WHERE NOT EXISTS (SELECT 1 FROM runs r WHERE r.id = x.run AND r.thread = t.thread)) THEN 6
      ELSE 1 END AS verdict
    FROM unnest(ids, fences, seqs, parents, details) WITH ORDINALITY AS c (id, fence, seq, parent, detail, place)
    LEFT JOIN threads t ON t.id = c.id) AS v;

  INSERT INTO entries (thread, seq, parent, fence, at, run, marks, checkpoints, events, holes, body, writes)
  SELECT c.thread, c.seq, c.parent, c.fence, c.at, c.run, c.marks::uuid[], c.checkpoints, c.events, c.holes, c.body, c.writes
  FROM unnest(numbers, verdicts, seqs, parents, fences, ats, of_runs, all_marks, all_checkpoints, all_events, all_holes,
    bodies, all_writes)
    AS c (thread, verdict, seq, parent, fence, at, run, marks, checkpoints, events, holes, body, writes)
  WHERE c.verdict = 1;

  IF array_remove(details, NULL) <> '{}' THEN PERFORM settle(numbers, verdicts, ats, details); END IF;
  RETURN QUERY SELECT v.place, v.verdict, false, false
  FROM unnest(verdicts) WITH ORDINALITY AS v (verdict, place);
  IF array_remove(details, NULL) <> '{}' OR array_remove(rests, NULL) <> '{}' THEN
    RETURN QUERY SELECT g.place, 1, g.cancel, g.inbox FROM go_on(numbers, verdicts, seqs, ats, rests, wakes,
      ARRAY(SELECT d.detail IS NOT NULL FROM unnest(details) WITH ORDINALITY AS d (detail, place) ORDER BY d.place)) AS g;
  END IF;
  -- Those that go on as they were, but have something to look at.
  IF true = ANY (stirred) THEN
    RETURN QUERY SELECT c.place, 1, k.cancel, k.unread OR k.answered
    FROM unnest(numbers, verdicts, rests, details, stirred) WITH ORDINALITY
      AS c (thread, verdict, rest, detail, news, place)
    CROSS JOIN LATERAL (SELECT * FROM facts(c.thread, 0) OFFSET 0) AS k
    WHERE c.verdict = 1 AND c.news AND c.rest IS NULL AND c.detail IS NULL;
  END IF;
END $$;

-- Removes rows of workers whose lease is over and who hold nothing, so that lives that are gone are not looked at for ever.
-- One that comes back has a row again with its next claim or renewal.
CREATE FUNCTION bury(clock bigint) RETURNS void LANGUAGE sql AS $$
  DELETE FROM workers WHERE worker IN (
    SELECT w.worker FROM workers w
    WHERE w.lease_until <= clock AND NOT EXISTS (SELECT 1 FROM threads t WHERE t.worker = w.worker)
    LIMIT 100 FOR UPDATE SKIP LOCKED)
$$;

ALTER FUNCTION claim(text, bigint, bigint, bigint, bigint, text[], text[], bigint) RENAME TO claim_threads;

CREATE FUNCTION claim(who text, now bigint, clock bigint, span bigint, most bigint, graphs text[], versions text[],
  from_since bigint)
RETURNS TABLE (thread bigint, fence bigint) LANGUAGE plpgsql AS $$
BEGIN
  RETURN QUERY SELECT c.thread, c.fence FROM claim_threads(who, now, clock, span, most, graphs, versions, from_since) AS c;
  IF EXISTS (SELECT 1 FROM workers w WHERE w.lease_until <= clock) THEN PERFORM bury(clock); END IF;
END $$;
