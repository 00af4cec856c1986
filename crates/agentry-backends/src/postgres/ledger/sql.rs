//! The statements.
//!
//! All of them lock slices before accounts, and each of both in the order of their keys, so none waits for one that waits for
//! it.

/// The account's row is locked before it is read, so of many who ask each sees what the others were granted.
pub(super) const RESERVE: &str = "
WITH mine AS (
  SELECT FROM slices WHERE account = $1 AND period = $2 AND instance = $6 AND life = $7 FOR UPDATE
), locked AS (
  SELECT count(*) FROM mine
), account AS (
  INSERT INTO accounts AS a (account, period, outstanding, granted)
  SELECT $1, $2, share_of($3, $4, $5), share_of($3, $4, $5) FROM locked
  ON CONFLICT (account, period) DO UPDATE
    SET outstanding = a.outstanding + share_of($3 - a.settled - a.outstanding, $4, $5),
        granted = share_of($3 - a.settled - a.outstanding, $4, $5)
  RETURNING granted, $3 - settled - outstanding AS free
), slice AS (
  INSERT INTO slices AS s (account, period, instance, life, amount, opened, expires, version)
  SELECT $1, $2, $6, $7, granted, $8, $9, $8 FROM account
  ON CONFLICT (account, period, instance, life) DO UPDATE
    SET amount = s.amount + excluded.amount, version = s.version + 1,
        expires = greatest(s.expires, excluded.expires)
  RETURNING amount, spent, opened, version
)
SELECT granted, free, amount, spent, opened, version FROM account, slice";

pub(super) const GIVE_BACK: &str = "
WITH given AS (
  UPDATE slices SET amount = amount - $6
  WHERE account = $1 AND period = $2 AND instance = $3 AND life = $4 AND version = $5
    AND $6::bigint >= 0 AND amount - spent >= $6::bigint
  RETURNING account, period
), freed AS (
  UPDATE accounts a SET outstanding = a.outstanding - $6
  FROM given WHERE a.account = given.account AND a.period = given.period
)
SELECT count(*) FROM given";

pub(super) const SETTLE: &str = "
WITH ended AS (
  DELETE FROM slices
  WHERE account = $1 AND period = $2 AND instance = $3 AND life = $4 AND version = $5
  RETURNING account, period, spent, amount
), settled AS (
  UPDATE accounts a
  SET settled = a.settled + ended.spent, outstanding = a.outstanding - ended.amount
  FROM ended WHERE a.account = ended.account AND a.period = ended.period
)
SELECT count(*) FROM ended";

pub(super) const RENEW: &str = "
WITH mine AS (
  SELECT account, period FROM slices WHERE instance = $1 AND life = $2
  ORDER BY account, period FOR UPDATE
), renewed AS (
  UPDATE slices s SET expires = greatest(s.expires, $3) FROM mine m
  WHERE s.account = m.account AND s.period = m.period AND s.instance = $1 AND s.life = $2
  RETURNING 1
)
SELECT count(*) FROM renewed";

/// Waits for whoever uses one of them.
pub(super) const RECLAIM_FORMER: &str = "
WITH former AS (
  SELECT account, period, instance, life FROM slices WHERE instance = $1 AND life <> $2
  ORDER BY account, period, instance, life FOR UPDATE
), ended AS (
  DELETE FROM slices s USING former f
  WHERE s.account = f.account AND s.period = f.period AND s.instance = f.instance AND s.life = f.life
  RETURNING s.account, s.period, s.spent, s.amount
), settled AS (
  INSERT INTO accounts AS a (account, period, settled, outstanding)
  SELECT account, period, sum(spent)::bigint, -sum(amount)::bigint
  FROM ended GROUP BY account, period ORDER BY account, period
  ON CONFLICT (account, period) DO UPDATE
    SET settled = a.settled + excluded.settled, outstanding = a.outstanding + excluded.outstanding
)
SELECT count(*) FROM ended";

/// What somebody uses at this moment is left for the next time.
pub(super) const RECLAIM_EXPIRED: &str = "
WITH expired AS (
  SELECT account, period, instance, life FROM slices WHERE expires <= $1
  ORDER BY account, period, instance, life FOR UPDATE SKIP LOCKED
), ended AS (
  DELETE FROM slices s USING expired e
  WHERE s.account = e.account AND s.period = e.period AND s.instance = e.instance AND s.life = e.life
  RETURNING s.account, s.period, s.spent, s.amount
), settled AS (
  INSERT INTO accounts AS a (account, period, settled, outstanding)
  SELECT account, period, sum(spent)::bigint, -sum(amount)::bigint
  FROM ended GROUP BY account, period ORDER BY account, period
  ON CONFLICT (account, period) DO UPDATE
    SET settled = a.settled + excluded.settled, outstanding = a.outstanding + excluded.outstanding
)
SELECT count(*) FROM ended";

pub(super) const BALANCE: &str = "
SELECT
  coalesce((SELECT settled + outstanding FROM accounts WHERE account = $1 AND period = $2), 0),
  coalesce((SELECT sum(amount - spent) FROM slices WHERE account = $1 AND period = $2), 0)::bigint";

/// Only records that are new charge anything. What was charged to a slice that is gone goes to its account, and what goes
/// beyond a slice is taken from the account as well.
pub(super) const APPEND: &str = "
WITH new AS (
  INSERT INTO usage (id, at, call_id, tenant, key, \"user\", team, session, run, model, target,
    status, input_tokens, cached_tokens, output_tokens, reasoning_tokens, cost, latency,
    first_token, cache, attempts, estimated)
  SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[],
    $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::bigint[],
    $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[],
    $20::text[], $21::bigint[], $22::bigint[])
  ON CONFLICT (id) DO NOTHING
  RETURNING id
), charge AS (
  SELECT c.account, c.period, c.instance, c.life, sum(c.amount)::bigint AS amount
  FROM unnest($23::bytea[], $24::text[], $25::text[], $26::text[], $27::text[], $28::bigint[])
    AS c (id, account, period, instance, life, amount)
  JOIN new ON new.id = c.id
  GROUP BY c.account, c.period, c.instance, c.life
), open AS (
  SELECT FROM slices s
  JOIN charge c ON s.account = c.account AND s.period = c.period
    AND s.instance = c.instance AND s.life = c.life
  ORDER BY s.account, s.period, s.instance, s.life FOR UPDATE OF s
), locked AS (
  SELECT count(*) FROM open
), hit AS (
  UPDATE slices s
  SET spent = s.spent + charge.amount,
      beyond = greatest(0, s.spent + charge.amount - s.amount),
      amount = greatest(s.amount, s.spent + charge.amount)
  FROM charge, locked
  WHERE s.account = charge.account AND s.period = charge.period
    AND s.instance = charge.instance AND s.life = charge.life
  RETURNING s.account, s.period, s.instance, s.life, s.beyond
), part AS (
  SELECT account, period, 0::bigint AS settled, beyond AS outstanding FROM hit WHERE beyond > 0
  UNION ALL
  SELECT account, period, amount, 0::bigint FROM charge
  WHERE NOT EXISTS (
    SELECT 1 FROM hit
    WHERE hit.account = charge.account AND hit.period = charge.period
      AND hit.instance = charge.instance AND hit.life = charge.life)
)
INSERT INTO accounts AS a (account, period, settled, outstanding)
SELECT account, period, sum(settled)::bigint, sum(outstanding)::bigint
FROM part GROUP BY account, period ORDER BY account, period
ON CONFLICT (account, period) DO UPDATE
  SET settled = a.settled + excluded.settled, outstanding = a.outstanding + excluded.outstanding";

pub(super) const COUNT: &str = "
INSERT INTO reused AS r (day, tenant, key, model, calls, saved, instance, life, number)
SELECT day, tenant, key, model, calls, saved, $7, $8, $9
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[])
  AS t (day, tenant, key, model, calls, saved)
ON CONFLICT (day, tenant, key, model, instance, life) DO UPDATE
  SET number = excluded.number, calls = r.calls + excluded.calls, saved = r.saved + excluded.saved
  WHERE r.number < excluded.number";

/// The totals come as a row without a day, and are there also when nothing was found.
/// A day is given as its number.
pub(super) const SPENDING: &str = "
WITH found AS (
  SELECT CASE $11::text WHEN 'model' THEN model WHEN 'target' THEN target WHEN 'key' THEN key
    WHEN 'day' THEN (at / 86400000000)::text WHEN 'tenant' THEN tenant WHEN 'team' THEN team
    WHEN 'user' THEN \"user\" WHEN 'session' THEN session WHEN 'run' THEN run END AS name,
    calls, failed, from_cache, input_tokens, cached_tokens, output_tokens, reasoning_tokens, cost,
    estimated, saved
  FROM used
  WHERE at >= $1 AND at < $2
    AND ($3::text IS NULL OR tenant = $3) AND ($4::text IS NULL OR key = $4)
    AND ($5::text IS NULL OR \"user\" = $5) AND ($6::text IS NULL OR team = $6)
    AND ($7::text IS NULL OR session = $7) AND ($8::text IS NULL OR run = $8)
    AND ($9::text IS NULL OR model = $9)
)
SELECT sum(calls)::bigint, sum(failed)::bigint, sum(from_cache)::bigint, sum(input_tokens)::bigint,
  sum(cached_tokens)::bigint, sum(output_tokens)::bigint, sum(reasoning_tokens)::bigint,
  sum(cost)::bigint AS spent, sum(estimated)::bigint, sum(saved)::bigint, name
FROM found GROUP BY name ORDER BY spent DESC, coalesce(name, '') COLLATE \"C\" LIMIT $10";

pub(super) const REPORT: &str = "
WITH found AS (
  SELECT at / 86400000000 AS day, tenant, key, model, calls, failed, from_cache, input_tokens,
    cached_tokens, output_tokens, reasoning_tokens, cost, estimated, saved
  FROM used
  WHERE at >= $1 AND at < $2
    AND ($3::text IS NULL OR tenant = $3) AND ($4::text IS NULL OR key = $4)
    AND ($5::text IS NULL OR \"user\" = $5) AND ($6::text IS NULL OR team = $6)
    AND ($7::text IS NULL OR session = $7) AND ($8::text IS NULL OR run = $8)
    AND ($9::text IS NULL OR model = $9)
), grouped AS (
  SELECT sum(calls)::bigint AS calls, sum(failed)::bigint AS failed,
    sum(from_cache)::bigint AS from_cache, sum(input_tokens)::bigint AS input,
    sum(cached_tokens)::bigint AS cached, sum(output_tokens)::bigint AS output,
    sum(reasoning_tokens)::bigint AS reasoning, sum(cost)::bigint AS cost,
    sum(estimated)::bigint AS estimated, sum(saved)::bigint AS saved,
    day, tenant, key, model
  FROM found GROUP BY day, tenant, key, model
)
(SELECT coalesce(sum(calls), 0)::bigint, coalesce(sum(failed), 0)::bigint,
   coalesce(sum(from_cache), 0)::bigint, coalesce(sum(input), 0)::bigint,
   coalesce(sum(cached), 0)::bigint, coalesce(sum(output), 0)::bigint,
   coalesce(sum(reasoning), 0)::bigint, coalesce(sum(cost), 0)::bigint,
   coalesce(sum(estimated), 0)::bigint, coalesce(sum(saved), 0)::bigint,
   NULL::bigint, NULL::text, NULL::text, NULL::text
 FROM grouped)
UNION ALL
(SELECT calls, failed, from_cache, input, cached, output, reasoning, cost, estimated, saved, day, tenant, key, model
 FROM grouped ORDER BY day, tenant COLLATE \"C\", key COLLATE \"C\", model COLLATE \"C\" LIMIT $10)";

pub(super) const FORGET_USER: &str = "
WITH slice AS (
  DELETE FROM slices WHERE account = $3
), account AS (
  DELETE FROM accounts WHERE account = $3
), forgotten AS (
  UPDATE usage SET \"user\" = NULL, session = NULL WHERE tenant = $1 AND \"user\" = $2 RETURNING 1
)
SELECT count(*) FROM forgotten";
