-- Times are microseconds since the Unix epoch, ids are 16 bytes, everything composite is JSON.

CREATE TABLE runs (
  run      INTEGER PRIMARY KEY,
  id       BLOB    NOT NULL UNIQUE,
  key      TEXT    NOT NULL UNIQUE,
  graph    TEXT    NOT NULL,
  version  TEXT    NOT NULL,
  status   TEXT    NOT NULL,
  seq      INTEGER NOT NULL DEFAULT 0,
  fence    INTEGER NOT NULL DEFAULT 0,
  worker   TEXT,
  created  INTEGER NOT NULL,
  updated  INTEGER NOT NULL,
  deadline INTEGER,
  wake_at  INTEGER,
  reason   TEXT,
  cancel   TEXT,
  input    TEXT    NOT NULL
) STRICT;
CREATE INDEX runs_ready ON runs (updated) WHERE status = 'ready' AND worker IS NULL;
CREATE INDEX runs_wake ON runs (wake_at) WHERE status = 'parked' AND wake_at IS NOT NULL;
CREATE INDEX runs_worker ON runs (worker) WHERE worker IS NOT NULL;

CREATE TABLE workers (
  worker      TEXT PRIMARY KEY,
  lease_until INTEGER NOT NULL
) STRICT;

CREATE TABLE commits (
  entry  INTEGER PRIMARY KEY,
  run    INTEGER NOT NULL,
  seq    INTEGER NOT NULL,
  fence  INTEGER NOT NULL,
  at     INTEGER NOT NULL,
  deltas TEXT    NOT NULL,
  cursor TEXT    NOT NULL
) STRICT;
CREATE UNIQUE INDEX commits_seq ON commits (run, seq);

-- An intention has no value; the result is a second row.
CREATE TABLE journal (
  entry INTEGER PRIMARY KEY,
  run   INTEGER NOT NULL,
  key   TEXT    NOT NULL,
  value TEXT
) STRICT;
CREATE INDEX journal_key ON journal (run, key);

CREATE TABLE messages (
  entry    INTEGER PRIMARY KEY,
  run      INTEGER NOT NULL,
  id       TEXT    NOT NULL,
  channel  TEXT    NOT NULL,
  payload  TEXT    NOT NULL,
  at       INTEGER NOT NULL,
  consumed INTEGER
) STRICT;
CREATE UNIQUE INDEX messages_id ON messages (run, id);
CREATE INDEX messages_new ON messages (run) WHERE consumed IS NULL;

CREATE TABLE interrupts (
  entry      INTEGER PRIMARY KEY,
  run        INTEGER NOT NULL,
  id         TEXT    NOT NULL,
  question   TEXT,
  opened     INTEGER NOT NULL,
  deadline   INTEGER,
  on_timeout TEXT    NOT NULL,
  answer     TEXT,
  closing    TEXT
) STRICT;
CREATE UNIQUE INDEX interrupts_id ON interrupts (run, id);
CREATE INDEX interrupts_open ON interrupts (run) WHERE closing IS NULL;
CREATE INDEX interrupts_asked ON interrupts (opened)
  WHERE closing IS NULL AND answer IS NULL AND question IS NOT NULL;

CREATE TABLE events (
  entry  INTEGER PRIMARY KEY,
  run    INTEGER NOT NULL,
  at     INTEGER NOT NULL,
  kind   TEXT    NOT NULL,
  detail TEXT    NOT NULL
) STRICT;
CREATE INDEX events_run ON events (run);

CREATE TABLE records (
  entry   INTEGER PRIMARY KEY,
  topic   TEXT NOT NULL,
  key     TEXT NOT NULL,
  payload TEXT NOT NULL
) STRICT;
CREATE INDEX records_topic ON records (topic);
CREATE INDEX records_key ON records (key, topic);

CREATE TABLE audit (
  number INTEGER PRIMARY KEY,
  entry  TEXT NOT NULL,
  digest TEXT NOT NULL
) STRICT;
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
  BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
  BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END;
