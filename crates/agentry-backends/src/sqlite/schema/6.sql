-- What agents share, assistants, and what begins when its time comes.

CREATE TABLE items (
  item      INTEGER PRIMARY KEY,
  tenant    TEXT    NOT NULL,
  -- Labels with a dot behind each.
  namespace TEXT    NOT NULL,
  key       TEXT    NOT NULL,
  created   INTEGER NOT NULL,
  updated   INTEGER NOT NULL,
  ttl       INTEGER,
  expires   INTEGER,
  -- What a query is held against, as a list; all of the value when there is none.
  fields    TEXT,
  -- Last, so that large ones need not be read to get at the rest.
  value     TEXT    NOT NULL
) STRICT;
CREATE UNIQUE INDEX items_id ON items (tenant, namespace, key);
CREATE INDEX items_expires ON items (expires) WHERE expires IS NOT NULL;

CREATE TABLE assistants (
  assistant INTEGER PRIMARY KEY,
  tenant    TEXT    NOT NULL,
  id        TEXT    NOT NULL,
  -- Which of its versions it is, and the newest one.
  version   INTEGER NOT NULL,
  newest    INTEGER NOT NULL,
  created   INTEGER NOT NULL,
  updated   INTEGER NOT NULL,
  UNIQUE (tenant, id)
) STRICT;

CREATE TABLE assistant_versions (
  assistant   INTEGER NOT NULL REFERENCES assistants (assistant),
  version     INTEGER NOT NULL,
  graph       TEXT    NOT NULL,
  name        TEXT    NOT NULL,
  description TEXT,
  config      TEXT    NOT NULL,
  context     TEXT    NOT NULL,
  metadata    TEXT    NOT NULL,
  created     INTEGER NOT NULL,
  UNIQUE (assistant, version)
) STRICT;

CREATE TABLE crons (
  cron       INTEGER PRIMARY KEY,
  tenant     TEXT    NOT NULL,
  id         TEXT    NOT NULL,
  assistant  TEXT    NOT NULL,
  thread     TEXT,
  "user"     TEXT,
  schedule   TEXT    NOT NULL,
  timezone   TEXT,
  payload    TEXT    NOT NULL,
  metadata   TEXT    NOT NULL,
  end_at     INTEGER,
  enabled    INTEGER NOT NULL,
  next       INTEGER,
  -- Until when somebody has its occurrence.
  held_until INTEGER,
  created    INTEGER NOT NULL,
  updated    INTEGER NOT NULL,
  revision   INTEGER NOT NULL DEFAULT 0,
  UNIQUE (tenant, id)
) STRICT;
CREATE INDEX crons_next ON crons (next) WHERE next IS NOT NULL;
CREATE INDEX crons_user ON crons (tenant, "user") WHERE "user" IS NOT NULL;
