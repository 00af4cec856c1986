-- Threads, the entries that move them on, and the runs that ask for it.

-- Graphs in one version each, so that a queue is a range of an index.
CREATE TABLE programs (
  program INTEGER PRIMARY KEY,
  graph   TEXT NOT NULL,
  version TEXT NOT NULL,
  UNIQUE (graph, version)
) STRICT;

-- Numbers are not used again: what is left of a deleted thread is removed later.
CREATE TABLE threads (
  thread   INTEGER PRIMARY KEY AUTOINCREMENT,
  id       BLOB    NOT NULL UNIQUE,
  tenant   TEXT    NOT NULL,
  -- 0 idle, 1 ready, 2 waiting, 3 interrupted, 4 failed.
  status   INTEGER NOT NULL DEFAULT 0,
  program  INTEGER,
  fence    INTEGER NOT NULL DEFAULT 0,
  worker   TEXT,
  -- It may be claimed: ready or its moment has come, and nobody has it whose lease was not over when that was looked at.
  queued   INTEGER NOT NULL DEFAULT 0,
  priority INTEGER NOT NULL DEFAULT 1,
  -- Since when it has been ready.
  since    INTEGER NOT NULL,
  wake_at  INTEGER,
  created  INTEGER NOT NULL,
  -- As of the entry `floor`: entries after it change nothing here.
  updated  INTEGER NOT NULL,
  floor    INTEGER NOT NULL DEFAULT 0,
  keep_for INTEGER,
  metadata TEXT    NOT NULL
) STRICT;
CREATE INDEX threads_queue ON threads (program, priority, tenant, since, thread) WHERE queued = 1;
CREATE INDEX threads_held ON threads (worker) WHERE worker IS NOT NULL;
CREATE INDEX threads_wake ON threads (queued, wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX threads_created ON threads (tenant, created, id);
CREATE INDEX threads_keep ON threads (updated + keep_for) WHERE keep_for IS NOT NULL;

-- Tenants in the order in which one of their threads was last claimed.
CREATE TABLE served (
  tenant TEXT PRIMARY KEY,
  turn   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE leases (
  worker TEXT PRIMARY KEY,
  until  INTEGER NOT NULL
) STRICT;

-- The hot table: one row for each commit, nothing in it changes. `holes` says where `writes` goes on in a blob.
CREATE TABLE entries (
  entry       INTEGER PRIMARY KEY,
  thread      INTEGER NOT NULL,
  seq         INTEGER NOT NULL,
  parent      INTEGER NOT NULL,
  fence       INTEGER NOT NULL,
  at          INTEGER NOT NULL,
  run         BLOB,
  -- The first of its checkpoints; others are in `checkpoints`.
  checkpoint  BLOB,
  checkpoints TEXT,
  events      TEXT,
  holes       BLOB,
  body        TEXT    NOT NULL,
  writes      TEXT    NOT NULL
) STRICT;
CREATE UNIQUE INDEX entries_seq ON entries (thread, seq);
CREATE INDEX entries_checkpoint ON entries (checkpoint) WHERE checkpoint IS NOT NULL;
CREATE INDEX entries_fork ON entries (thread, seq) WHERE parent <> seq - 1;

CREATE TABLE checkpoints (
  id     BLOB    NOT NULL,
  thread INTEGER NOT NULL,
  seq    INTEGER NOT NULL,
  PRIMARY KEY (thread, id)
) STRICT, WITHOUT ROWID;

-- Which runs have entries in which threads.
CREATE TABLE authors (
  run    BLOB    NOT NULL,
  thread INTEGER NOT NULL,
  PRIMARY KEY (run, thread)
) STRICT, WITHOUT ROWID;
CREATE INDEX authors_thread ON authors (thread);

CREATE TABLE snapshots (
  snapshot INTEGER PRIMARY KEY,
  thread   INTEGER NOT NULL,
  seq      INTEGER NOT NULL,
  -- It cannot be made again: entries before it are gone.
  kept     INTEGER NOT NULL DEFAULT 0,
  holes    BLOB,
  body     TEXT    NOT NULL,
  states   TEXT    NOT NULL,
  UNIQUE (thread, seq)
) STRICT;

-- Large values, each once in its thread.
CREATE TABLE blobs (
  blob    INTEGER PRIMARY KEY,
  thread  INTEGER NOT NULL,
  digest  BLOB    NOT NULL,
  -- Only snapshots have it.
  derived INTEGER NOT NULL DEFAULT 0,
  value   TEXT    NOT NULL,
  UNIQUE (thread, digest)
) STRICT;
CREATE INDEX blobs_derived ON blobs (thread) WHERE derived = 1;

CREATE TABLE thread_runs (
  run        INTEGER PRIMARY KEY,
  id         BLOB    NOT NULL UNIQUE,
  thread     INTEGER NOT NULL,
  tenant     TEXT    NOT NULL,
  key        TEXT,
  program    INTEGER NOT NULL,
  -- 0 pending, 1 running, 2 interrupted, 3 success, 4 error, 5 timeout, 6 cancelled, 7 rolled back.
  status     INTEGER NOT NULL,
  multitask  INTEGER NOT NULL,
  priority   INTEGER NOT NULL,
  created    INTEGER NOT NULL,
  updated    INTEGER NOT NULL,
  not_before INTEGER,
  deadline   INTEGER,
  base       INTEGER,
  cancel     TEXT,
  reason     TEXT,
  ephemeral  INTEGER NOT NULL,
  metadata   TEXT    NOT NULL,
  input      TEXT    NOT NULL
) STRICT;
CREATE UNIQUE INDEX thread_runs_key ON thread_runs (tenant, key) WHERE key IS NOT NULL;
CREATE INDEX thread_runs_thread ON thread_runs (thread, id);
CREATE INDEX thread_runs_open ON thread_runs (thread) WHERE status < 2;
CREATE INDEX thread_runs_base ON thread_runs (thread, base) WHERE base IS NOT NULL;
CREATE INDEX thread_runs_tenant ON thread_runs (tenant, id);

CREATE TABLE inbox (
  entry    INTEGER PRIMARY KEY,
  thread   INTEGER NOT NULL,
  id       TEXT    NOT NULL,
  channel  TEXT    NOT NULL,
  at       INTEGER NOT NULL,
  consumed INTEGER,
  payload  TEXT    NOT NULL
) STRICT;
CREATE UNIQUE INDEX inbox_id ON inbox (thread, id);
CREATE INDEX inbox_new ON inbox (thread) WHERE consumed IS NULL;

-- An intention has no value.
CREATE TABLE effects (
  effect INTEGER PRIMARY KEY,
  thread INTEGER NOT NULL,
  key    TEXT    NOT NULL,
  value  TEXT
) STRICT;
CREATE UNIQUE INDEX effects_key ON effects (thread, key);

CREATE TABLE questions (
  question    INTEGER PRIMARY KEY,
  thread      INTEGER NOT NULL,
  id          TEXT    NOT NULL,
  run         BLOB    NOT NULL,
  ns          TEXT    NOT NULL,
  node        TEXT    NOT NULL,
  asked       TEXT,
  schema      TEXT,
  opened      INTEGER NOT NULL,
  deadline    INTEGER,
  on_timeout  TEXT    NOT NULL,
  escalations INTEGER NOT NULL,
  answer      TEXT,
  closing     TEXT
) STRICT;
CREATE UNIQUE INDEX questions_id ON questions (thread, id);
CREATE INDEX questions_open ON questions (thread) WHERE closing IS NULL;
CREATE INDEX questions_asked ON questions (opened)
  WHERE closing IS NULL AND answer IS NULL AND asked IS NOT NULL;

-- Under which fence entries that are gone were stored, to recognise one that comes again.
CREATE TABLE bygone (
  thread INTEGER NOT NULL,
  fence  INTEGER NOT NULL,
  first  INTEGER NOT NULL,
  last   INTEGER NOT NULL,
  PRIMARY KEY (thread, fence)
) STRICT, WITHOUT ROWID;

-- Deleted threads of which something is left.
CREATE TABLE leftovers (
  thread INTEGER PRIMARY KEY
) STRICT;

-- What runs were before they had threads.
DROP TABLE events;
DROP TABLE interrupts;
DROP TABLE messages;
DROP TABLE journal;
DROP TABLE commits;
DROP TABLE workers;
DROP TABLE runs;
