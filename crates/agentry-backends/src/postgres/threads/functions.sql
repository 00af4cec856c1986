-- What the commands on threads mean. Each statement inside of a function sees what was stored before it began, so whoever
-- has locked a thread first decides about it as it is now. States are literals, so that partial indexes are of use.

CREATE FUNCTION moment() RETURNS bigint LANGUAGE sql VOLATILE AS $$
  SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
$$;

-- Chains entries behind the audit log, as `audit::Record::link` does.
CREATE FUNCTION link(added text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  head audit_head;
  one text;
BEGIN
  IF coalesce(cardinality(added), 0) = 0 THEN RETURN; END IF;
  SELECT * INTO head FROM audit_head FOR UPDATE;
  FOREACH one IN ARRAY added LOOP
    head.number := head.number + 1;
    head.digest := encode(
      sha256(decode(head.digest, 'hex') || int8send(head.number) || convert_to(one, 'UTF8')), 'hex');
    INSERT INTO audit (number, entry, digest) VALUES (head.number, one, head.digest);
  END LOOP;
  UPDATE audit_head SET number = head.number, digest = head.digest;
END $$;

CREATE FUNCTION texts(list jsonb) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
  SELECT coalesce(array_agg(item), '{}') FROM jsonb_array_elements_text(list) AS item
$$;

CREATE FUNCTION last_begun(of bigint) RETURNS uuid LANGUAGE sql STABLE AS $$
  SELECT id FROM runs WHERE thread = of AND base IS NOT NULL ORDER BY base DESC, number DESC LIMIT 1
$$;

-- What a thread has to look at, and what its runs say about it. `due`: a pending run may begin at `now`.
CREATE FUNCTION facts(of bigint, now bigint)
RETURNS TABLE (running boolean, pending boolean, fresh boolean, due boolean, later bigint, cancel boolean,
  answered boolean, unread boolean) LANGUAGE sql STABLE ROWS 1 AS $$
  SELECT
    coalesce(o.running, false), coalesce(o.pending, false), coalesce(o.fresh, false), coalesce(o.due, false), o.later,
    EXISTS (SELECT 1 FROM runs r WHERE r.thread = of AND r.cancel IS NOT NULL AND (
      r.status IN ('pending', 'running')
      OR r.status = 'interrupted' AND r.id = last_begun(of))),
    EXISTS (SELECT 1 FROM questions q WHERE q.thread = of AND q.closing IS NULL AND q.answer IS NOT NULL),
    EXISTS (SELECT 1 FROM inbox i WHERE i.thread = of AND NOT i.consumed)
  FROM (
    SELECT bool_or(r.status = 'running') AS running, bool_or(r.status = 'pending') AS pending,
      bool_or(r.status = 'pending' AND r.not_before IS NULL) AS fresh,
      bool_or(r.status = 'pending' AND (r.not_before IS NULL OR r.not_before <= now)) AS due,
      min(r.not_before) FILTER (WHERE r.status = 'pending') AS later
    FROM runs r WHERE r.thread = of AND r.status IN ('pending', 'running')) AS o
$$;

-- Puts a thread that is ready and free into the line, or changes its place there.
CREATE FUNCTION line_up(of bigint) RETURNS void LANGUAGE sql AS $$
  INSERT INTO ready (thread, rank, tenant, since, id, graph, version)
  SELECT thread, -priority, tenant, since, id, graph, version FROM threads
  WHERE thread = of AND status = 'ready' AND worker IS NULL
  ON CONFLICT (thread) DO UPDATE
    SET rank = excluded.rank, since = excluded.since, graph = excluded.graph, version = excluded.version
$$;

CREATE FUNCTION wake(of bigint, at bigint) RETURNS void LANGUAGE sql AS $$
  UPDATE threads SET status = 'ready', wake_at = NULL, since = at WHERE thread = of AND status <> 'ready';
  SELECT line_up(of);
$$;

-- The program and the priority that follow from the runs that there are.
CREATE FUNCTION follow(of bigint) RETURNS void LANGUAGE sql AS $$
  UPDATE threads t SET graph = l.graph, version = l.version, priority = l.priority
  FROM (
    SELECT r.graph, r.version, max(r.priority) OVER () AS priority FROM runs r
    WHERE r.thread = of AND r.status IN ('pending', 'running')
    ORDER BY (r.status = 'running') DESC, CASE WHEN r.status = 'running' THEN 0 ELSE coalesce(r.not_before, r.created) END,
      r.number
    LIMIT 1) AS l
  WHERE t.thread = of
$$;

-- Whether somebody may answer an interrupt now: `accepted`, or why not.
CREATE FUNCTION answerable(of bigint, asked text, now bigint) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  q questions;
  over text;
BEGIN
  SELECT * INTO q FROM questions WHERE thread = of AND id = asked AND question IS NOT NULL;
  IF NOT FOUND THEN RETURN '{"is": "not_found"}'; END IF;
  IF q.answer IS NOT NULL THEN
    RETURN jsonb_build_object('is', 'already_answered', 'answer', q.answer);
  END IF;
  IF q.closing = 'expired' OR q.closing IS NULL AND q.deadline <= now THEN RETURN '{"is": "expired"}'; END IF;
  IF q.closing IS NULL THEN RETURN '{"is": "accepted"}'; END IF;
  SELECT status INTO over FROM runs
  WHERE thread = of AND id = q.run AND status NOT IN ('pending', 'running', 'interrupted');
  IF FOUND THEN RETURN jsonb_build_object('is', 'finished', 'status', over); END IF;
  RETURN '{"is": "not_found"}';
END $$;

CREATE FUNCTION take_answer(of bigint, asked text, given text) RETURNS void LANGUAGE sql AS $$
  UPDATE questions SET answer = given WHERE thread = of AND id = asked AND closing IS NULL;
  UPDATE threads SET news = true WHERE thread = of AND NOT news;
$$;

CREATE FUNCTION submit(a jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  t threads;
  known runs;
  one jsonb;
  said jsonb;
  active uuid;
  made boolean := false;
  open boolean := false;
  marked bigint := 0;
  now bigint := (a ->> 'created')::bigint;
  begins bigint := (a ->> 'not_before')::bigint;
  f record;
BEGIN
  SELECT * INTO known FROM runs WHERE tenant = a ->> 'tenant' AND key = a ->> 'key';
  IF FOUND THEN RETURN jsonb_build_object('is', 'existing', 'id', known.id, 'on', known.thread); END IF;
  SELECT * INTO known FROM runs WHERE id = (a ->> 'id')::uuid;
  IF FOUND THEN
    IF known.tenant <> a ->> 'tenant' THEN RETURN '{"is": "foreign"}'; END IF;
    RETURN jsonb_build_object('is', 'existing', 'id', known.id, 'on', known.thread);
  END IF;
  SELECT * INTO t FROM threads WHERE id = (a ->> 'thread')::uuid FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    IF a ->> 'absent' = 'refuse' THEN RETURN '{"is": "no_thread"}'; END IF;
    IF jsonb_array_length(a -> 'answers') > 0 THEN
      RETURN jsonb_build_object('is', 'no_interrupt', 'interrupt', a -> 'answers' -> 0 ->> 'id');
    END IF;
    INSERT INTO threads (id, tenant, since, created, updated, metadata, members)
    VALUES ((a ->> 'thread')::uuid, a ->> 'tenant', now, now, now, '{}', '{}')
    ON CONFLICT (id) DO NOTHING RETURNING * INTO t;
    made := FOUND;
    IF NOT made THEN SELECT * INTO t FROM threads WHERE id = (a ->> 'thread')::uuid FOR NO KEY UPDATE; END IF;
  END IF;
  IF t.tenant <> a ->> 'tenant' THEN RETURN '{"is": "foreign"}'; END IF;
  FOR one IN SELECT * FROM jsonb_array_elements(a -> 'answers') LOOP
    said := answerable(t.thread, one ->> 'id', (one ->> 'at')::bigint);
    IF said ->> 'is' = 'already_answered' THEN
      RETURN said || jsonb_build_object('interrupt', one ->> 'id');
    ELSIF said ->> 'is' <> 'accepted' THEN
      RETURN jsonb_build_object('is', 'no_interrupt', 'interrupt', one ->> 'id');
    END IF;
  END LOOP;
  open := NOT made AND EXISTS (SELECT 1 FROM runs WHERE thread = t.thread AND status IN ('pending', 'running'));
  IF a ->> 'multitask' = 'reject' AND open THEN
    SELECT id INTO active FROM runs WHERE thread = t.thread AND status IN ('pending', 'running')
    ORDER BY (status = 'running') DESC, CASE WHEN status = 'running' THEN 0 ELSE coalesce(not_before, created) END, number
    LIMIT 1;
    RETURN jsonb_build_object('is', 'busy', 'active', active);
  END IF;
  IF a ->> 'mark' IS NOT NULL AND open THEN
    UPDATE runs SET cancel = a ->> 'mark', rollback = (a ->> 'rollback')::boolean
    WHERE thread = t.thread AND status IN ('pending', 'running')
      AND (cancel IS NULL OR (a ->> 'rollback')::boolean AND NOT rollback);
    GET DIAGNOSTICS marked = ROW_COUNT;
  END IF;
  FOR one IN SELECT * FROM jsonb_array_elements(a -> 'answers') LOOP
    PERFORM take_answer(t.thread, one ->> 'id', one ->> 'answer');
  END LOOP;
  INSERT INTO runs (id, thread, tenant, key, graph, version, multitask, priority, created, updated, not_before, deadline,
    ephemeral, metadata, members, input)
  VALUES ((a ->> 'id')::uuid, t.thread, t.tenant, a ->> 'key', a ->> 'graph', a ->> 'version', a ->> 'multitask',
    (a ->> 'priority')::smallint, now, now, begins, (a ->> 'deadline')::bigint,
    made AND a ->> 'absent' = 'createforrun', a ->> 'metadata', texts(a -> 'members'), a ->> 'input');
  -- The usual run, of a thread that does nothing else: nothing else has to be looked at.
  IF made OR t.status IN ('idle', 'failed') AND t.worker IS NULL AND t.wake_at IS NULL AND NOT t.news AND NOT open
    AND begins IS NULL AND jsonb_array_length(a -> 'answers') = 0 THEN
    UPDATE threads SET graph = a ->> 'graph', version = a ->> 'version', priority = (a ->> 'priority')::smallint,
      news = true, updated = now,
      status = CASE WHEN begins > now THEN 'idle' ELSE 'ready' END,
      since = CASE WHEN begins > now THEN since ELSE now END,
      wake_at = CASE WHEN begins > now THEN begins END
    WHERE thread = t.thread;
    IF begins IS NULL OR begins <= now THEN PERFORM line_up(t.thread); END IF;
    RETURN jsonb_build_object('is', 'created', 'id', a ->> 'id');
  END IF;
  UPDATE threads SET news = true, updated = now WHERE thread = t.thread;
  PERFORM follow(t.thread);
  SELECT * INTO f FROM facts(t.thread, now);
  IF marked > 0 OR jsonb_array_length(a -> 'answers') > 0 OR (begins IS NULL OR begins <= now) AND NOT f.running THEN
    PERFORM wake(t.thread, now);
  ELSE
    UPDATE threads SET wake_at = least(wake_at, CASE WHEN NOT f.running THEN f.later END)
    WHERE thread = t.thread AND status <> 'ready';
    PERFORM line_up(t.thread);
  END IF;
  RETURN jsonb_build_object('is', 'created', 'id', a ->> 'id');
END $$;

CREATE FUNCTION receive(of bigint, m jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  now text;
BEGIN
  INSERT INTO inbox (thread, id, channel, at, payload)
  VALUES (of, m ->> 'id', m ->> 'channel', (m ->> 'at')::bigint, m ->> 'payload')
  ON CONFLICT (thread, id) DO NOTHING;
  IF NOT FOUND THEN RETURN '{"is": "duplicate"}'; END IF;
  UPDATE threads SET news = true WHERE thread = of RETURNING status INTO now;
  IF now IN ('waiting', 'interrupted') THEN PERFORM wake(of, (m ->> 'at')::bigint); END IF;
  RETURN '{"is": "accepted"}';
END $$;

CREATE FUNCTION signal(a jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  t threads;
  r runs;
  said jsonb;
BEGIN
  SELECT * INTO t FROM threads WHERE id = (a ->> 'thread')::uuid FOR NO KEY UPDATE;
  IF NOT FOUND THEN RETURN '{"is": "not_found"}'; END IF;
  IF a ? 'message' THEN RETURN receive(t.thread, a -> 'message'); END IF;
  IF a ? 'interrupt' THEN
    said := answerable(t.thread, a ->> 'interrupt', (a ->> 'at')::bigint);
    IF said ->> 'is' = 'accepted' THEN
      PERFORM take_answer(t.thread, a ->> 'interrupt', a ->> 'answer');
      PERFORM wake(t.thread, (a ->> 'at')::bigint);
      PERFORM link(texts(a -> 'audit'));
    END IF;
    RETURN said;
  END IF;
  SELECT * INTO r FROM runs WHERE id = (a ->> 'run')::uuid AND thread = t.thread;
  IF NOT FOUND THEN RETURN '{"is": "not_found"}'; END IF;
  IF r.status NOT IN ('pending', 'running') AND NOT (r.status = 'interrupted' AND r.id = last_begun(t.thread)) THEN
    RETURN jsonb_build_object('is', 'finished', 'status', r.status);
  END IF;
  IF r.cancel IS NOT NULL AND NOT ((a ->> 'rollback')::boolean AND NOT r.rollback) THEN
    RETURN '{"is": "duplicate"}';
  END IF;
  UPDATE runs SET cancel = a ->> 'mark', rollback = (a ->> 'rollback')::boolean WHERE id = r.id;
  UPDATE threads SET news = true WHERE thread = t.thread AND NOT news;
  PERFORM wake(t.thread, (a ->> 'at')::bigint);
  PERFORM link(texts(a -> 'audit'));
  RETURN '{"is": "accepted"}';
END $$;

-- All of it or nothing; a refusal is an exception with a state of our own.
CREATE FUNCTION take_in(a jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  one jsonb;
  said jsonb;
  target bigint;
  -- From threads that were named to those of the runs that have the key.
  same jsonb := '{}';
  last bigint;
BEGIN
  FOR one IN SELECT * FROM jsonb_array_elements(a -> 'submit') LOOP
    said := submit(one);
    IF said ->> 'is' = 'existing' THEN
      same := same || jsonb_build_object(one ->> 'thread', said -> 'on');
    ELSIF said ->> 'is' <> 'created' THEN
      RAISE EXCEPTION USING ERRCODE = 'AG001', MESSAGE = format('run %s: %s', one ->> 'id', said ->> 'is');
    END IF;
  END LOOP;
  FOR one IN SELECT * FROM jsonb_array_elements(a -> 'messages') LOOP
    target := (same ->> (one ->> 'thread'))::bigint;
    SELECT thread INTO target FROM threads
    WHERE thread = target OR target IS NULL AND id = (one ->> 'thread')::uuid FOR NO KEY UPDATE;
    IF NOT FOUND THEN
      RAISE EXCEPTION USING ERRCODE = 'AG001', MESSAGE = format('there is no thread %s', one ->> 'thread');
    END IF;
    PERFORM receive(target, one);
  END LOOP;
  IF jsonb_array_length(a -> 'records') > 0 THEN
    UPDATE records_head SET number = number + jsonb_array_length(a -> 'records') RETURNING number INTO last;
    INSERT INTO records (number, topic, key, payload)
    SELECT last - jsonb_array_length(a -> 'records') + place, r ->> 'topic', r ->> 'key', r ->> 'payload'
    FROM jsonb_array_elements(a -> 'records') WITH ORDINALITY AS r (r, place);
  END IF;
  PERFORM link(texts(a -> 'audit'));
END $$;

-- Several commands from the door, in this order. What one of them is refused does not concern the others.
CREATE FUNCTION act(commands jsonb[]) RETURNS TABLE (said jsonb) LANGUAGE plpgsql AS $$
DECLARE
  a jsonb;
BEGIN
  PERFORM 1 FROM threads WHERE id IN (SELECT (c ->> 'thread')::uuid FROM unnest(commands) AS c)
  ORDER BY thread FOR NO KEY UPDATE;
  FOREACH a IN ARRAY commands LOOP
    CASE a ->> 'do'
      WHEN 'submit' THEN said := submit(a);
      WHEN 'signal' THEN said := signal(a);
      WHEN 'intake' THEN
        BEGIN
          PERFORM take_in(a);
          said := '{"is": "stored"}';
        EXCEPTION WHEN SQLSTATE 'AG001' THEN
          said := jsonb_build_object('is', 'refused', 'reason', SQLERRM);
        END;
    END CASE;
    RETURN NEXT;
  END LOOP;
END $$;

-- Many commits of as many threads. Answers for each place what has come of it, and again with news where there are some.
-- 1 applied, 2 duplicate, 3 fenced, 4 stale, 5 the parent is missing, 6 a run is missing.
CREATE FUNCTION commits(ids uuid[], fences bigint[], seqs bigint[], parents bigint[], of_runs uuid[], ats bigint[],
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

-- What comes with some commits besides their entries.
CREATE FUNCTION settle(numbers bigint[], verdicts integer[], ats bigint[], details jsonb[])
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  SELECT array_agg(c.thread), array_agg(c.at), array_agg(c.detail) INTO numbers, ats, details
  FROM unnest(numbers, verdicts, ats, details) AS c (thread, verdict, at, detail)
  WHERE c.verdict = 1 AND c.detail IS NOT NULL;
  IF numbers IS NULL THEN RETURN; END IF;

  UPDATE runs r SET status = x.status, base = coalesce(x.base, r.base), reason = x.reason, updated = c.at
  FROM unnest(numbers, ats, details) AS c (thread, at, detail),
    jsonb_to_recordset(c.detail -> 'runs') AS x (run uuid, status text, base bigint, reason text)
  WHERE r.id = x.run;

  UPDATE questions q SET closing = x.closing
  FROM unnest(numbers, details) AS c (thread, detail), jsonb_to_recordset(c.detail -> 'closed') AS x (id text, closing text)
  WHERE q.thread = c.thread AND q.id = x.id AND q.closing IS NULL;

  UPDATE questions q SET deadline = x.deadline, escalations = q.escalations + 1
  FROM unnest(numbers, details) AS c (thread, detail), jsonb_to_recordset(c.detail -> 'postponed') AS x (id text, deadline bigint)
  WHERE q.thread = c.thread AND q.id = x.id AND q.closing IS NULL;

  DELETE FROM questions q
  USING unnest(numbers, details) AS c (thread, detail), jsonb_to_recordset(c.detail -> 'opened') AS x (id text)
  WHERE q.thread = c.thread AND q.id = x.id;
  INSERT INTO questions (thread, id, run, ns, node, question, schema, opened, deadline, on_timeout, escalations, answer)
  SELECT c.thread, x.id, x.run, x.ns, x.node, x.question, x.schema, x.opened, x.deadline, x.on_timeout, x.escalations, x.answer
  FROM unnest(numbers, details) AS c (thread, detail), jsonb_to_recordset(c.detail -> 'opened')
    AS x (id text, run uuid, ns text, node text, question text, schema text, opened bigint, deadline bigint, on_timeout text,
          escalations integer, answer text);

  UPDATE inbox i SET consumed = true, payload = ''
  FROM unnest(numbers, details) AS c (thread, detail), jsonb_array_elements_text(c.detail -> 'consumed') AS x (id)
  WHERE i.thread = c.thread AND i.id = x.id AND NOT i.consumed;

  DELETE FROM effects e
  USING unnest(numbers, details) AS c (thread, detail), jsonb_array_elements_text(c.detail -> 'forgotten') AS x (key)
  WHERE e.thread = c.thread AND e.key = x.key;

  INSERT INTO pieces (thread, digest, value)
  SELECT c.thread, decode(x.digest, 'hex'), x.value
  FROM unnest(numbers, details) AS c (thread, detail), jsonb_to_recordset(c.detail -> 'pieces') AS x (digest text, value text)
  ON CONFLICT DO NOTHING;

  INSERT INTO snapshots (thread, seq, holes, body, states)
  SELECT c.thread, x.seq, decode(x.holes, 'hex'), x.body, x.states
  FROM unnest(numbers, details) AS c (thread, detail),
    jsonb_to_record(c.detail -> 'snapshot') AS x (seq bigint, holes text, body text, states text)
  WHERE c.detail ? 'snapshot'
  ON CONFLICT (thread, seq) DO UPDATE
    SET holes = excluded.holes, body = excluded.body, states = excluded.states;
  DELETE FROM snapshots s
  USING unnest(numbers, details) AS c (thread, detail)
  WHERE c.detail ? 'snapshot' AND s.thread = c.thread AND s.seq < (c.detail -> 'snapshot' ->> 'seq')::bigint AND NOT s.needed;

  PERFORM link(ARRAY(
    SELECT x.entry FROM unnest(numbers, details) WITH ORDINALITY AS c (thread, detail, place),
      jsonb_array_elements_text(c.detail -> 'audit') WITH ORDINALITY AS x (entry, index)
    ORDER BY c.place, x.index));
END $$;

-- What the threads of these commits do now, of those that rest or have changed more than their state.
CREATE FUNCTION go_on(numbers bigint[], verdicts integer[], seqs bigint[], ats bigint[], rests text[], wakes bigint[],
  touched boolean[])
RETURNS TABLE (place bigint, cancel boolean, inbox boolean) LANGUAGE plpgsql AS $$
DECLARE
  places bigint[];
  lined bigint[];
  of bigint;
BEGIN
  SELECT array_agg(c.place) INTO places
  FROM unnest(verdicts, rests, touched) WITH ORDINALITY AS c (verdict, rest, touched, place)
  WHERE c.verdict = 1 AND (c.rest IS NOT NULL OR c.touched);
  IF places IS NULL THEN RETURN; END IF;
  RETURN QUERY
  UPDATE threads t SET
    graph = coalesce(f.graph, t.graph), version = coalesce(f.version, t.version), priority = coalesce(f.priority, t.priority),
    news = f.cancel OR f.answered OR f.unread OR f.pending,
    worker = CASE WHEN f.rest IS NULL THEN t.worker END,
    status = CASE WHEN f.rest IS NULL THEN t.status WHEN f.wanted THEN 'ready' ELSE f.rest END,
    since = CASE WHEN f.wanted THEN f.at ELSE t.since END,
    wake_at = CASE WHEN f.rest IS NULL THEN t.wake_at WHEN f.wanted THEN NULL
      ELSE least(f.wake, CASE WHEN NOT f.running THEN f.later END) END,
    seq = CASE WHEN f.rest IS NULL THEN t.seq ELSE f.seq END,
    updated = CASE WHEN f.rest IS NULL THEN t.updated ELSE f.at END,
    keep_for = CASE WHEN f.rest IS NOT NULL AND f.ended THEN 60000000 ELSE t.keep_for END
  FROM (
    SELECT c.place, c.thread, c.seq, c.at, c.rest, c.wake, k.*, l.graph, l.version, l.priority,
      c.rest IS NOT NULL AND (NOT k.running AND k.due OR k.answered OR k.cancel
        OR c.rest IN ('waiting', 'interrupted') AND k.unread) AS wanted,
      c.rest IS NOT NULL AND NOT k.running AND NOT k.pending
        AND EXISTS (SELECT 1 FROM runs r WHERE r.thread = c.thread AND r.ephemeral)
        AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.id = last_begun(c.thread) AND r.status = 'interrupted') AS ended
    FROM unnest(places) AS p (place)
    CROSS JOIN LATERAL (SELECT p.place, numbers[p.place] AS thread, seqs[p.place] AS seq, ats[p.place] AS at,
      rests[p.place] AS rest, wakes[p.place] AS wake OFFSET 0) AS c
    CROSS JOIN LATERAL (SELECT * FROM facts(c.thread, c.at) OFFSET 0) AS k
    LEFT JOIN LATERAL (
      SELECT r.graph, r.version, max(r.priority) OVER () AS priority FROM runs r
      WHERE r.thread = c.thread AND r.status IN ('pending', 'running')
      ORDER BY (r.status = 'running') DESC,
        CASE WHEN r.status = 'running' THEN 0 ELSE coalesce(r.not_before, r.created) END, r.number
      LIMIT 1) AS l ON true) AS f
  WHERE t.thread = f.thread
  RETURNING f.place, f.cancel, f.wanted OR f.unread OR f.answered;
  SELECT array_agg(thread) INTO lined FROM threads
  WHERE thread = ANY (ARRAY(SELECT numbers[p.place] FROM unnest(places) AS p (place)))
    AND status = 'ready' AND worker IS NULL;
  IF lined IS NOT NULL THEN
    FOREACH of IN ARRAY lined LOOP PERFORM line_up(of); END LOOP;
  END IF;
END $$;

-- Many effects. 1 applied, 2 duplicate, 3 fenced, 4 stale.
CREATE FUNCTION journals(ids uuid[], fences bigint[], keys text[], results text[])
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
    SELECT j.place, coalesce(t.thread, 0) AS thread, coalesce(t.news, false) AS news, CASE
      WHEN t.thread IS NULL OR t.worker IS NULL OR t.fence <> j.fence THEN 3
      WHEN j.result IS NULL AND e.key IS NOT NULL THEN 4
      WHEN e.value IS NOT NULL THEN 2
      ELSE 1 END AS verdict
    FROM unnest(ids, fences, keys, results) WITH ORDINALITY AS j (id, fence, key, result, place)
    LEFT JOIN threads t ON t.id = j.id
    LEFT JOIN effects e ON e.thread = t.thread AND e.key = j.key) AS v;
  INSERT INTO effects AS known (thread, key, value)
  SELECT j.thread, j.key, j.result
  FROM unnest(numbers, verdicts, keys, results) AS j (thread, verdict, key, result) WHERE j.verdict = 1
  ON CONFLICT (thread, key) DO UPDATE SET value = excluded.value;
  RETURN QUERY SELECT v.place, v.verdict, false, false FROM unnest(verdicts) WITH ORDINALITY AS v (verdict, place);
  RETURN QUERY SELECT v.place, 1, k.cancel, k.unread OR k.answered
  FROM unnest(numbers, verdicts, stirred) WITH ORDINALITY AS v (thread, verdict, news, place)
  CROSS JOIN LATERAL (SELECT * FROM facts(v.thread, 0) OFFSET 0) AS k
  WHERE v.verdict = 1 AND v.news;
END $$;

CREATE FUNCTION lease(who text, clock bigint, span bigint) RETURNS void LANGUAGE sql AS $$
  INSERT INTO workers AS w (worker, lease_until) VALUES (who, clock + span)
  ON CONFLICT (worker) DO UPDATE SET lease_until = excluded.lease_until
$$;

-- `clock` judges leases, `now` the moments that threads wait for. Of those in line, only ones that have been ready since
-- `from_since` are looked at.
CREATE FUNCTION claim(who text, now bigint, clock bigint, span bigint, most bigint, graphs text[], versions text[],
  from_since bigint)
RETURNS TABLE (thread bigint, fence bigint) LANGUAGE plpgsql AS $$
DECLARE
  over text[];
  picked bigint[];
  got bigint[];
  all_got bigint[] := '{}';
  tried bigint[] := '{}';
  wanted bigint := most;
BEGIN
  SELECT coalesce(array_agg(w.worker), '{}') INTO over FROM workers w WHERE w.lease_until <= clock AND w.worker <> who;
  -- Another worker may be taking the same threads at the same moment.
  FOR attempt IN 1..3 LOOP
    WITH RECURSIVE lines AS (
      (SELECT r.rank, r.tenant FROM ready r ORDER BY r.rank, r.tenant LIMIT 1)
      UNION ALL
      SELECT n.rank, n.tenant FROM lines l CROSS JOIN LATERAL (
        SELECT r.rank, r.tenant FROM ready r WHERE (r.rank, r.tenant) > (l.rank, l.tenant)
        ORDER BY r.rank, r.tenant LIMIT 1) AS n),
    found AS (
      SELECT l.rank, l.tenant, r.since, r.id, r.thread FROM lines l CROSS JOIN LATERAL (
        SELECT r.since, r.id, r.thread FROM ready r
        WHERE r.rank = l.rank AND r.tenant = l.tenant AND r.since >= from_since AND r.thread <> ALL (tried)
          AND EXISTS (SELECT 1 FROM unnest(graphs, versions) AS p (graph, version)
                      WHERE p.graph = r.graph AND p.version = r.version)
        ORDER BY r.since, r.id LIMIT wanted) AS r
      UNION ALL
      SELECT -t.priority, t.tenant, t.wake_at, t.id, t.thread FROM threads t
      WHERE t.wake_at <= now AND t.status <> 'ready' AND (t.worker IS NULL OR t.worker = ANY (over))
        AND t.thread <> ALL (tried)
        AND EXISTS (SELECT 1 FROM unnest(graphs, versions) AS p (graph, version)
                    WHERE p.graph = t.graph AND p.version = t.version)
      UNION ALL
      SELECT -t.priority, t.tenant, t.since, t.id, t.thread FROM threads t
      WHERE t.worker = ANY (over) AND t.status = 'ready' AND t.thread <> ALL (tried)
        AND EXISTS (SELECT 1 FROM unnest(graphs, versions) AS p (graph, version)
                    WHERE p.graph = t.graph AND p.version = t.version)),
    rounds AS (
      SELECT f.*, row_number() OVER (PARTITION BY f.rank, f.tenant ORDER BY f.since, f.id) AS round FROM found f)
    SELECT array_agg(n.thread) INTO picked FROM (
      SELECT r.thread FROM rounds r LEFT JOIN tenants s ON s.tenant = r.tenant
      ORDER BY r.rank, r.round, coalesce(s.served, 0), r.since, r.id LIMIT wanted) AS n;
    EXIT WHEN picked IS NULL;
    tried := tried || picked;
    SELECT coalesce(array_agg(l.thread), '{}') INTO got FROM (
      SELECT t.thread FROM threads t
      WHERE t.thread = ANY (picked) AND (t.worker IS NULL OR t.worker = ANY (over))
        AND (t.status = 'ready' OR t.wake_at <= now)
      FOR NO KEY UPDATE SKIP LOCKED) AS l;
    all_got := all_got || ARRAY(
      SELECT p.thread FROM unnest(picked) WITH ORDINALITY AS p (thread, place) WHERE p.thread = ANY (got) ORDER BY p.place);
    wanted := most - cardinality(all_got);
    EXIT WHEN wanted <= 0 OR cardinality(got) = cardinality(picked);
  END LOOP;
  IF cardinality(all_got) = 0 THEN RETURN; END IF;
  DELETE FROM ready r WHERE r.thread = ANY (all_got);
  UPDATE threads t SET fence = t.fence + 1, worker = who, status = 'ready', wake_at = NULL,
    since = CASE WHEN t.status = 'ready' THEN t.since ELSE coalesce(t.wake_at, now) END
  WHERE t.thread = ANY (all_got);
  PERFORM serve(all_got);
  PERFORM lease(who, clock, span);
  RETURN QUERY SELECT t.thread, t.fence FROM unnest(all_got) WITH ORDINALITY AS g (thread, place)
  JOIN threads t ON t.thread = g.thread ORDER BY g.place;
END $$;

-- Remembers whose turn it was. Nothing is written when it was last the turn of the same tenant, as it is with only one.
CREATE FUNCTION serve(which bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  names text[];
  name text;
BEGIN
  SELECT array_agg(s.tenant ORDER BY s.last) INTO names FROM (
    SELECT t.tenant, max(g.place) AS last FROM unnest(which) WITH ORDINALITY AS g (thread, place)
    JOIN threads t ON t.thread = g.thread GROUP BY t.tenant) AS s;
  IF cardinality(names) = 1 AND EXISTS (
    SELECT 1 FROM tenants t WHERE t.tenant = names[1] AND t.served = (SELECT s.last_value FROM servings s)) THEN
    RETURN;
  END IF;
  FOREACH name IN ARRAY names LOOP
    UPDATE tenants SET served = nextval('servings')
    WHERE tenant = (SELECT t.tenant FROM tenants t WHERE t.tenant = name FOR NO KEY UPDATE SKIP LOCKED);
    IF NOT FOUND THEN
      -- Somebody else who serves it has it locked, and writes the same.
      INSERT INTO tenants (tenant, served) SELECT name, nextval('servings')
      WHERE NOT EXISTS (SELECT 1 FROM tenants t WHERE t.tenant = name)
      ON CONFLICT (tenant) DO NOTHING;
    END IF;
  END LOOP;
END $$;

CREATE FUNCTION take(of uuid, who text, clock bigint, span bigint)
RETURNS TABLE (state text, thread bigint, fence bigint) LANGUAGE plpgsql AS $$
DECLARE
  t threads;
BEGIN
  SELECT * INTO t FROM threads x WHERE x.id = of FOR NO KEY UPDATE;
  IF NOT FOUND THEN RETURN; END IF;
  IF t.status NOT IN ('idle', 'interrupted', 'failed')
    OR EXISTS (SELECT 1 FROM workers w WHERE w.worker = t.worker AND w.lease_until > clock) THEN
    RETURN QUERY SELECT 'busy', t.thread, t.fence;
    RETURN;
  END IF;
  UPDATE threads x SET fence = x.fence + 1, worker = who WHERE x.thread = t.thread;
  PERFORM lease(who, clock, span);
  RETURN QUERY SELECT 'yours', t.thread, t.fence + 1;
END $$;

CREATE FUNCTION give_back(who text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  which bigint[];
BEGIN
  SELECT array_agg(l.thread) INTO which FROM (
    SELECT t.thread FROM threads t WHERE t.worker = who ORDER BY t.thread FOR NO KEY UPDATE) AS l;
  DELETE FROM workers WHERE worker = who;
  IF which IS NULL THEN RETURN; END IF;
  UPDATE threads t SET worker = NULL, seq = greatest(t.seq, e.seq), updated = greatest(t.updated, e.at)
  FROM unnest(which) AS g (thread)
  LEFT JOIN LATERAL (SELECT e.seq, e.at FROM entries e WHERE e.thread = g.thread ORDER BY e.seq DESC LIMIT 1) AS e ON true
  WHERE t.thread = g.thread;
  PERFORM line_up(g.thread) FROM unnest(which) AS g (thread);
END $$;

-- Everything that belongs to some threads, which are locked.
CREATE FUNCTION erase(which bigint[]) RETURNS void LANGUAGE sql AS $$
  DELETE FROM ready WHERE thread = ANY (which);
  DELETE FROM entries WHERE thread = ANY (which);
  DELETE FROM snapshots WHERE thread = ANY (which);
  DELETE FROM pieces WHERE thread = ANY (which);
  DELETE FROM runs WHERE thread = ANY (which);
  DELETE FROM authors WHERE thread = ANY (which);
  DELETE FROM inbox WHERE thread = ANY (which);
  DELETE FROM effects WHERE thread = ANY (which);
  DELETE FROM questions WHERE thread = ANY (which);
  DELETE FROM threads WHERE thread = ANY (which);
$$;

CREATE FUNCTION delete_thread(of uuid) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  t threads;
BEGIN
  SELECT * INTO t FROM threads WHERE id = of FOR UPDATE;
  IF NOT FOUND THEN RETURN false; END IF;
  PERFORM erase(ARRAY[t.thread]);
  RETURN true;
END $$;

CREATE FUNCTION sweep(now bigint, most bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  which bigint[];
BEGIN
  SELECT array_agg(l.thread) INTO which FROM (
    SELECT t.thread FROM threads t
    WHERE t.keep_for IS NOT NULL AND t.updated + t.keep_for <= now AND t.worker IS NULL
      AND t.status IN ('idle', 'interrupted', 'failed')
      AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.thread = t.thread AND r.status IN ('pending', 'running'))
    ORDER BY t.updated + t.keep_for LIMIT most FOR UPDATE SKIP LOCKED) AS l;
  IF which IS NULL THEN RETURN 0; END IF;
  PERFORM erase(which);
  RETURN cardinality(which);
END $$;

-- When a thread whose runs are at rest wants to be woken by one of them.
CREATE FUNCTION next_turn(of bigint) RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN NOT f.running THEN f.later END FROM facts(of, 0) AS f
$$;

CREATE FUNCTION prune_all(of uuid) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  t threads;
  removed bigint;
BEGIN
  SELECT * INTO t FROM threads
  WHERE id = of AND worker IS NULL AND status IN ('idle', 'interrupted', 'failed') FOR NO KEY UPDATE;
  IF NOT FOUND THEN RETURN 0; END IF;
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

CREATE FUNCTION copy_thread(of uuid, a jsonb) RETURNS text LANGUAGE plpgsql AS $$
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
  INSERT INTO authors (run, thread)
  SELECT DISTINCT e.run, made FROM entries e WHERE e.thread = made AND e.run IS NOT NULL;
  RETURN 'copied';
END $$;

-- Takes a run out of one thread; answers whether there was anything of it.
CREATE FUNCTION forget_run(of bigint, gone uuid) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  known runs;
  begun uuid := last_begun(of);
  known_here boolean;
  here boolean;
  e record;
BEGIN
  DELETE FROM runs WHERE id = gone AND thread = of RETURNING * INTO known;
  known_here := FOUND;
  UPDATE entries SET marks = NULL, checkpoints = NULL WHERE thread = of AND run = gone;
  here := FOUND OR known_here;
  FOR e IN SELECT seq FROM entries WHERE thread = of AND run = gone ORDER BY seq DESC LOOP
    IF NOT EXISTS (SELECT 1 FROM entries x WHERE x.thread = of AND x.parent = e.seq) THEN
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

CREATE FUNCTION delete_run(gone uuid) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  known runs;
  of bigint;
  here boolean := false;
BEGIN
  SELECT * INTO known FROM runs WHERE id = gone;
  IF FOUND THEN
    PERFORM 1 FROM threads WHERE thread = known.thread FOR NO KEY UPDATE;
    SELECT * INTO known FROM runs WHERE id = gone;
    IF NOT FOUND OR known.status IN ('pending', 'running') THEN RETURN false; END IF;
    UPDATE threads t SET seq = greatest(t.seq, (SELECT max(e.seq) FROM entries e WHERE e.thread = t.thread))
    WHERE t.thread = known.thread;
    RETURN forget_run(known.thread, gone);
  END IF;
  -- Nobody submitted it: only entries know of it. Looking through them all is slow, and nothing that an engine does asks for it.
  FOR of IN SELECT t.thread FROM threads t
    WHERE t.thread IN (SELECT a.thread FROM authors a WHERE a.run = gone
                       UNION SELECT e.thread FROM entries e WHERE e.run = gone)
    ORDER BY t.thread FOR NO KEY UPDATE OF t LOOP
    here := forget_run(of, gone) OR here;
  END LOOP;
  RETURN here;
END $$;
