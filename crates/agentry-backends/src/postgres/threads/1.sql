-- Threads, the entries that move them on, and the runs that ask for it.
--
-- A step of a run is one new row of `entries` and nothing else: the thread's own row is locked to look at its fence, but it
-- is written only when somebody takes the thread or lets go of it. So a reader who keeps an old snapshot open keeps few dead
-- rows alive. There are no foreign keys: whoever writes has locked the thread.

CREATE TABLE threads (
  thread   bigint   GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id       uuid     NOT NULL UNIQUE,
  tenant   text     NOT NULL,
  -- idle, ready, waiting, interrupted, failed
  status   text     NOT NULL DEFAULT 'idle',
  graph    text,
  version  text,
  fence    bigint   NOT NULL DEFAULT 0,
  worker   text,
  -- False: there is no pending run, no message, no answer, and no run that is to be cancelled.
  news     boolean  NOT NULL DEFAULT false,
  priority smallint NOT NULL DEFAULT 1,
  -- Since when it has been ready.
  since    bigint   NOT NULL,
  wake_at  bigint,
  created  bigint   NOT NULL,
  -- While a worker has it, the last entry's time counts when it is later.
  updated  bigint   NOT NULL,
  keep_for bigint,
  -- The number of the last entry; while a worker has it, there may be later ones.
  seq      bigint   NOT NULL DEFAULT 0,
  metadata text     NOT NULL,
  -- What the metadata's members are, for finding them.
  members  text[]   NOT NULL
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX threads_held ON threads (worker) WHERE worker IS NOT NULL;
CREATE INDEX threads_wake ON threads (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX threads_created ON threads (tenant, created);
CREATE INDEX threads_kept ON threads ((updated + keep_for)) WHERE keep_for IS NOT NULL;
CREATE INDEX threads_members ON threads USING gin (members);

-- Those that are ready and that nobody has: small, and often rewritten.
CREATE TABLE ready (
  thread  bigint   PRIMARY KEY,
  -- The priority with its sign turned, so that one direction of the index is the order of service.
  rank    smallint NOT NULL,
  tenant  text     NOT NULL,
  since   bigint   NOT NULL,
  id      uuid     NOT NULL,
  graph   text,
  version text
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX ready_order ON ready (rank, tenant, since, id);

-- Until when each worker's claims hold, by the clock that judges them.
CREATE TABLE workers (
  worker      text   PRIMARY KEY,
  lease_until bigint NOT NULL
) WITH (fillfactor = 50);

-- When each was last served, by a counter.
CREATE TABLE tenants (
  tenant text   PRIMARY KEY,
  served bigint NOT NULL
) WITH (fillfactor = 50);
CREATE SEQUENCE servings;

-- Only added to, except by pruning. `holes` says where `writes` goes on in `pieces`.
CREATE TABLE entries (
  thread      bigint NOT NULL,
  seq         bigint NOT NULL,
  parent      bigint NOT NULL,
  fence       bigint NOT NULL,
  at          bigint NOT NULL,
  run         uuid,
  -- The ids of its checkpoints.
  marks       uuid[],
  checkpoints text,
  events      text,
  holes       bytea,
  body        text   NOT NULL,
  writes      text   NOT NULL,
  PRIMARY KEY (thread, seq)
);

CREATE TABLE snapshots (
  thread bigint  NOT NULL,
  seq    bigint  NOT NULL,
  -- It cannot be made again: entries before it are gone.
  needed boolean NOT NULL DEFAULT false,
  holes  bytea,
  body   text    NOT NULL,
  states text    NOT NULL,
  PRIMARY KEY (thread, seq)
);

-- Large values, each once in its thread.
CREATE TABLE pieces (
  thread bigint NOT NULL,
  digest bytea  NOT NULL,
  value  text   NOT NULL,
  PRIMARY KEY (thread, digest)
);

CREATE TABLE runs (
  id         uuid     PRIMARY KEY,
  number     bigint   GENERATED ALWAYS AS IDENTITY,
  thread     bigint   NOT NULL,
  tenant     text     NOT NULL,
  key        text,
  graph      text     NOT NULL,
  version    text     NOT NULL,
  status     text     NOT NULL DEFAULT 'pending',
  multitask  text     NOT NULL,
  priority   smallint NOT NULL,
  created    bigint   NOT NULL,
  updated    bigint   NOT NULL,
  not_before bigint,
  deadline   bigint,
  base       bigint,
  cancel     text,
  rollback   boolean  NOT NULL DEFAULT false,
  reason     text,
  ephemeral  boolean  NOT NULL,
  metadata   text     NOT NULL,
  members    text[]   NOT NULL,
  input      text     NOT NULL
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX runs_key ON runs (tenant, key) WHERE key IS NOT NULL;
CREATE INDEX runs_thread ON runs (thread, base, number);
CREATE INDEX runs_open ON runs (thread, number) WHERE status IN ('pending', 'running');
CREATE INDEX runs_cancel ON runs (thread) WHERE cancel IS NOT NULL;
CREATE INDEX runs_tenant ON runs (tenant, id);
CREATE INDEX runs_members ON runs USING gin (members);

-- Runs whose entries were copied into other threads.
CREATE TABLE authors (
  run    uuid   NOT NULL,
  thread bigint NOT NULL,
  PRIMARY KEY (run, thread)
);
CREATE INDEX authors_thread ON authors (thread);

CREATE TABLE inbox (
  thread   bigint  NOT NULL,
  id       text    NOT NULL,
  number   bigint  GENERATED ALWAYS AS IDENTITY,
  channel  text    NOT NULL,
  at       bigint  NOT NULL,
  consumed boolean NOT NULL DEFAULT false,
  payload  text    NOT NULL,
  PRIMARY KEY (thread, id)
);
CREATE INDEX inbox_new ON inbox (thread, number) WHERE NOT consumed;

-- An intention has no value.
CREATE TABLE effects (
  thread bigint NOT NULL,
  key    text   NOT NULL,
  value  text,
  PRIMARY KEY (thread, key)
);

CREATE TABLE questions (
  thread      bigint  NOT NULL,
  id          text    NOT NULL,
  number      bigint  GENERATED ALWAYS AS IDENTITY,
  run         uuid    NOT NULL,
  ns          text    NOT NULL,
  node        text    NOT NULL,
  question    text,
  schema      text,
  opened      bigint  NOT NULL,
  deadline    bigint,
  on_timeout  text    NOT NULL,
  escalations integer NOT NULL,
  answer      text,
  closing     text,
  PRIMARY KEY (thread, id)
);
CREATE INDEX questions_open ON questions (thread, number) WHERE closing IS NULL;
CREATE INDEX questions_asked ON questions (opened)
  WHERE closing IS NULL AND answer IS NULL AND question IS NOT NULL;

-- Whoever adds a record holds the head until it is stored, so that no number comes to light after a later one.
CREATE TABLE records (
  number  bigint PRIMARY KEY,
  topic   text   NOT NULL,
  key     text   NOT NULL,
  payload text   NOT NULL
);
CREATE INDEX records_topic ON records (topic, number);
CREATE INDEX records_key ON records (topic, key, number);
CREATE TABLE records_head (number bigint NOT NULL);
INSERT INTO records_head VALUES (0);
