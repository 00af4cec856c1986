-- Money is in micro-dollars, durations are in microseconds.

CREATE TABLE accounts (
  account     TEXT    NOT NULL,
  period      TEXT    NOT NULL,
  -- Spent outside of open slices.
  settled     INTEGER NOT NULL DEFAULT 0,
  -- The sum of `amount` of all open slices.
  outstanding INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (account, period)
) STRICT, WITHOUT ROWID;

CREATE TABLE slices (
  slice    INTEGER PRIMARY KEY,
  account  TEXT    NOT NULL,
  period   TEXT    NOT NULL,
  instance TEXT    NOT NULL,
  life     TEXT    NOT NULL,
  amount   INTEGER NOT NULL,
  spent    INTEGER NOT NULL DEFAULT 0,
  opened   INTEGER NOT NULL,
  expires  INTEGER NOT NULL,
  version  INTEGER NOT NULL,
  UNIQUE (account, period, instance, life)
) STRICT;
CREATE INDEX slices_holder ON slices (instance, life);
CREATE INDEX slices_expires ON slices (expires);

CREATE TABLE usage (
  entry            INTEGER PRIMARY KEY,
  id               BLOB    NOT NULL UNIQUE,
  at               INTEGER NOT NULL,
  call_id          TEXT    NOT NULL,
  tenant           TEXT    NOT NULL,
  key              TEXT    NOT NULL,
  "user"           TEXT,
  team             TEXT,
  session          TEXT,
  run              TEXT,
  model            TEXT    NOT NULL,
  target           TEXT,
  status           TEXT    NOT NULL,
  input_tokens     INTEGER NOT NULL,
  cached_tokens    INTEGER NOT NULL,
  output_tokens    INTEGER NOT NULL,
  reasoning_tokens INTEGER NOT NULL,
  cost             INTEGER NOT NULL,
  latency          INTEGER NOT NULL,
  first_token      INTEGER,
  cache            TEXT    NOT NULL,
  attempts         INTEGER NOT NULL
) STRICT;
CREATE INDEX usage_at ON usage (at);
CREATE INDEX usage_user ON usage (tenant, "user") WHERE "user" IS NOT NULL;

CREATE TABLE requests (
  tenant     TEXT    NOT NULL,
  key        TEXT    NOT NULL,
  digest     BLOB    NOT NULL,
  attempt    INTEGER NOT NULL,
  -- NULL: it is answered.
  busy_until INTEGER,
  expires    INTEGER NOT NULL,
  -- NULL when it is answered: the answer was too large to be kept.
  answer     BLOB,
  PRIMARY KEY (tenant, key)
) STRICT;
CREATE INDEX requests_expires ON requests (expires);
