-- Calls that asked no target, as each life of an instance has counted them.
CREATE TABLE reused (
  day      INTEGER NOT NULL,
  tenant   TEXT    NOT NULL,
  key      TEXT    NOT NULL,
  model    TEXT    NOT NULL,
  instance TEXT    NOT NULL,
  life     TEXT    NOT NULL,
  -- Of the last tally that was heard.
  number   INTEGER NOT NULL,
  calls    INTEGER NOT NULL,
  saved    INTEGER NOT NULL,
  PRIMARY KEY (day, tenant, key, model, instance, life)
) STRICT, WITHOUT ROWID;

-- What was used: each call, and what was counted together at the beginning of its day.
CREATE VIEW used AS
  SELECT 1 AS calls, status <> 'success' AS failed, cache <> 'miss' AS from_cache, input_tokens, cached_tokens, output_tokens,
    reasoning_tokens, cost, estimated, 0 AS saved, at, tenant, key, "user", team, session, run, model, target
  FROM usage
  UNION ALL
  SELECT calls, 0, calls, 0, 0, 0, 0, 0, 0, saved, day * 86400000000, tenant, key, NULL, NULL, NULL, NULL, model, NULL
  FROM reused;
