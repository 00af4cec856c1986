-- Calls that asked no target, as each life of an instance has counted them.
CREATE TABLE reused (
  day      bigint NOT NULL,
  tenant   text   NOT NULL,
  key      text   NOT NULL,
  model    text   NOT NULL,
  instance text   NOT NULL,
  life     text   NOT NULL,
  -- Of the last tally that was heard.
  number   bigint NOT NULL,
  calls    bigint NOT NULL,
  saved    bigint NOT NULL,
  PRIMARY KEY (day, tenant, key, model, instance, life)
) WITH (fillfactor = 70);

-- What was used: each call, and what was counted together at the beginning of its day.
CREATE VIEW used AS
  SELECT 1::bigint AS calls, (status <> 'success')::int::bigint AS failed, (cache <> 'miss')::int::bigint AS from_cache,
    input_tokens, cached_tokens, output_tokens, reasoning_tokens, cost, estimated, 0::bigint AS saved, at, tenant, key,
    "user", team, session, run, model, target
  FROM usage
  UNION ALL
  SELECT calls, 0, calls, 0, 0, 0, 0, 0, 0, saved, day * 86400000000, tenant, key, NULL, NULL, NULL, NULL, model, NULL
  FROM reused;
