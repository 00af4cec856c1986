-- A copy is woken for the questions that it has.
CREATE OR REPLACE FUNCTION copy_thread(of uuid, a jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  t threads;
  made bigint;
BEGIN
  IF EXISTS (SELECT 1 FROM threads WHERE id = (a ->> 'id')::uuid) THEN RETURN 'exists'; END IF;
  SELECT * INTO t FROM threads WHERE id = of AND tenant = a ->> 'tenant' FOR SHARE;
  IF NOT FOUND THEN RETURN 'missing'; END IF;
  INSERT INTO threads (id, tenant, status, graph, version, since, created, updated, keep_for, seq, metadata, members)
  VALUES ((a ->> 'id')::uuid, t.tenant, CASE WHEN t.status = 'interrupted' THEN 'interrupted' ELSE 'idle' END, t.graph,
    t.version, (a ->> 'created')::bigint, (a ->> 'created')::bigint, (a ->> 'created')::bigint, (a ->> 'keep_for')::bigint,
    greatest(t.seq, (SELECT max(seq) FROM entries e WHERE e.thread = t.thread)), a ->> 'metadata', texts(a -> 'members'))
  RETURNING thread INTO made;
  INSERT INTO entries (thread, seq, parent, fence, at, run, marks, checkpoints, holes, body, writes)
  SELECT made, e.seq, e.parent, 0, e.at, e.run, e.marks, e.checkpoints, e.holes, e.body, e.writes
  FROM entries e WHERE e.thread = t.thread;
  INSERT INTO snapshots (thread, seq, needed, holes, body, states)
  SELECT made, s.seq, s.needed, s.holes, s.body, s.states FROM snapshots s WHERE s.thread = t.thread;
  INSERT INTO pieces (thread, digest, value) SELECT made, p.digest, p.value FROM pieces p WHERE p.thread = t.thread;
  INSERT INTO effects (thread, key, value)
  SELECT made, e.key, e.value FROM effects e WHERE e.thread = t.thread AND e.value IS NOT NULL;
  INSERT INTO questions (thread, id, run, ns, node, question, schema, opened, deadline, on_timeout, escalations)
  SELECT made, q.id, q.run, q.ns, q.node, q.question, q.schema, q.opened, q.deadline, q.on_timeout, q.escalations
  FROM questions q WHERE q.thread = t.thread AND q.closing IS NULL AND q.answer IS NULL ORDER BY q.number;
  UPDATE threads c SET wake_at = (SELECT min(q.deadline) FROM questions q WHERE q.thread = made)
  WHERE c.thread = made AND c.status = 'interrupted';
  INSERT INTO authors (run, thread)
  SELECT DISTINCT e.run, made FROM entries e WHERE e.thread = made AND e.run IS NOT NULL;
  RETURN 'copied';
END $$;

-- Takes a run out of one thread; answers whether there was anything of it. What others build on stays, and the head of a
-- thread that a worker has, and an entry that has lost its parent and stands for what was before.
CREATE OR REPLACE FUNCTION forget_run(of bigint, gone uuid) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  known runs;
  begun uuid := last_begun(of);
  known_here boolean;
  here boolean;
  e record;
  held bigint := (SELECT max(x.seq) FROM entries x, threads t
                  WHERE x.thread = of AND t.thread = of AND t.worker IS NOT NULL);
BEGIN
  DELETE FROM runs WHERE id = gone AND thread = of RETURNING * INTO known;
  known_here := FOUND;
  UPDATE entries SET marks = NULL, checkpoints = NULL WHERE thread = of AND run = gone;
  here := FOUND OR known_here;
  FOR e IN SELECT seq, parent FROM entries WHERE thread = of AND run = gone ORDER BY seq DESC LOOP
    IF e.seq IS DISTINCT FROM held
      AND (e.parent = 0 OR EXISTS (SELECT 1 FROM entries x WHERE x.thread = of AND x.seq = e.parent))
      AND NOT EXISTS (SELECT 1 FROM entries x WHERE x.thread = of AND x.parent = e.seq) THEN
      DELETE FROM entries x WHERE x.thread = of AND x.seq = e.seq;
      DELETE FROM snapshots s WHERE s.thread = of AND s.seq = e.seq;
    END IF;
  END LOOP;
  DELETE FROM questions WHERE thread = of AND run = gone;
  DELETE FROM authors WHERE run = gone AND thread = of;
  UPDATE threads SET news = true WHERE thread = of;
  IF known_here AND known.status = 'interrupted' AND begun = gone THEN
    UPDATE threads SET status = 'idle', wake_at = next_turn(of) WHERE thread = of AND status = 'interrupted';
  END IF;
  RETURN here;
END $$;
