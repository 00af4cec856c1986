-- Batches of requests, their answers, and the files they are read from.

CREATE TABLE batches (
  batch      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id         text   NOT NULL UNIQUE,
  tenant     text   NOT NULL,
  key_id     text   NOT NULL,
  name       text   NOT NULL,
  team       text,
  "user"     text,
  terms      text   NOT NULL,
  endpoint   text   NOT NULL,
  input_file text,
  metadata   text   NOT NULL,
  created    bigint NOT NULL,
  expires    bigint NOT NULL,
  keep_until bigint NOT NULL,
  cancelled  bigint,
  finished   bigint,
  total      bigint NOT NULL,
  completed  bigint NOT NULL DEFAULT 0,
  failed     bigint NOT NULL DEFAULT 0,
  dropped    bigint NOT NULL DEFAULT 0
);
CREATE INDEX batches_tenant ON batches (tenant, batch);
CREATE INDEX batches_open ON batches (batch) WHERE finished IS NULL;
CREATE INDEX batches_keep ON batches (keep_until);

CREATE TABLE batch_items (
  batch       bigint   NOT NULL REFERENCES batches (batch) ON DELETE CASCADE,
  number      bigint   NOT NULL,
  custom_id   text     NOT NULL,
  url         text     NOT NULL,
  body        bytea    NOT NULL,
  -- 0 waits, 1 is held until `lease_until`, 2 is over.
  state       smallint NOT NULL DEFAULT 0,
  holder      text,
  lease_until bigint,
  claim       bigint   NOT NULL DEFAULT 0,
  tries       integer  NOT NULL DEFAULT 0,
  status      integer,
  answer      bytea,
  -- Why there is no answer.
  dropped     text,
  PRIMARY KEY (batch, number)
);
CREATE INDEX batch_items_open ON batch_items (batch, number) WHERE state < 2;
CREATE INDEX batch_items_held ON batch_items (holder) WHERE state = 1;

CREATE TABLE batch_files (
  file       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id         text   NOT NULL UNIQUE,
  tenant     text   NOT NULL,
  "user"     text,
  name       text   NOT NULL,
  created    bigint NOT NULL,
  keep_until bigint NOT NULL,
  content    bytea  NOT NULL
);
CREATE INDEX batch_files_tenant ON batch_files (tenant, file);
CREATE INDEX batch_files_keep ON batch_files (keep_until);
