-- Batches of requests, their answers, and the files they are read from.

CREATE TABLE batches (
  batch      INTEGER PRIMARY KEY,
  id         TEXT    NOT NULL UNIQUE,
  tenant     TEXT    NOT NULL,
  key_id     TEXT    NOT NULL,
  name       TEXT    NOT NULL,
  team       TEXT,
  "user"     TEXT,
  terms      TEXT    NOT NULL,
  endpoint   TEXT    NOT NULL,
  input_file TEXT,
  metadata   TEXT    NOT NULL,
  created    INTEGER NOT NULL,
  expires    INTEGER NOT NULL,
  keep_until INTEGER NOT NULL,
  cancelled  INTEGER,
  finished   INTEGER,
  total      INTEGER NOT NULL,
  completed  INTEGER NOT NULL DEFAULT 0,
  failed     INTEGER NOT NULL DEFAULT 0,
  dropped    INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX batches_tenant ON batches (tenant, batch);
CREATE INDEX batches_open ON batches (batch) WHERE finished IS NULL;
CREATE INDEX batches_keep ON batches (keep_until);

CREATE TABLE batch_items (
  batch       INTEGER NOT NULL REFERENCES batches (batch),
  number      INTEGER NOT NULL,
  custom_id   TEXT    NOT NULL,
  url         TEXT    NOT NULL,
  body        BLOB    NOT NULL,
  -- 0 waits, 1 is held until `lease_until`, 2 is over.
  state       INTEGER NOT NULL DEFAULT 0,
  holder      TEXT,
  lease_until INTEGER,
  claim       INTEGER NOT NULL DEFAULT 0,
  tries       INTEGER NOT NULL DEFAULT 0,
  status      INTEGER,
  answer      BLOB,
  -- Why there is no answer.
  dropped     TEXT,
  UNIQUE (batch, number)
) STRICT;
CREATE INDEX batch_items_open ON batch_items (batch, number) WHERE state < 2;
CREATE INDEX batch_items_held ON batch_items (holder) WHERE state = 1;

CREATE TABLE batch_files (
  file       INTEGER PRIMARY KEY,
  id         TEXT    NOT NULL UNIQUE,
  tenant     TEXT    NOT NULL,
  "user"     TEXT,
  name       TEXT    NOT NULL,
  created    INTEGER NOT NULL,
  keep_until INTEGER NOT NULL,
  content    BLOB    NOT NULL
) STRICT;
CREATE INDEX batch_files_tenant ON batch_files (tenant, file);
CREATE INDEX batch_files_keep ON batch_files (keep_until);
