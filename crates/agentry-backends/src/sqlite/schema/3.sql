-- API keys. Digests of secrets, never secrets.

CREATE TABLE keys (
  key         INTEGER PRIMARY KEY,
  id          TEXT    NOT NULL UNIQUE,
  digest      BLOB    NOT NULL UNIQUE,
  hint        TEXT    NOT NULL,
  tenant      TEXT    NOT NULL,
  name        TEXT    NOT NULL,
  team        TEXT,
  "user"      TEXT,
  terms       TEXT    NOT NULL,
  created     INTEGER NOT NULL,
  expires     INTEGER,
  revoked     INTEGER,
  replaced_by TEXT,
  used        INTEGER
) STRICT;
CREATE UNIQUE INDEX keys_name ON keys (tenant, name)
  WHERE revoked IS NULL AND replaced_by IS NULL;
CREATE INDEX keys_user ON keys (tenant, "user") WHERE "user" IS NOT NULL;

-- One row: how often keys were changed.
CREATE TABLE key_changes (version INTEGER NOT NULL) STRICT;
INSERT INTO key_changes VALUES (0);
