-- API keys. Digests of secrets, never secrets.
CREATE TABLE keys (
  key         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id          text   NOT NULL UNIQUE,
  digest      bytea  NOT NULL UNIQUE,
  hint        text   NOT NULL,
  tenant      text   NOT NULL,
  name        text   NOT NULL,
  team        text,
  "user"      text,
  terms       text   NOT NULL,
  created     bigint NOT NULL,
  expires     bigint,
  revoked     bigint,
  replaced_by text,
  used        bigint
);
CREATE UNIQUE INDEX keys_name ON keys (tenant, name)
  WHERE revoked IS NULL AND replaced_by IS NULL;
CREATE INDEX keys_user ON keys (tenant, "user") WHERE "user" IS NOT NULL;

-- One row: how often keys were changed.
CREATE TABLE key_changes (version bigint NOT NULL);
INSERT INTO key_changes VALUES (0);
