-- What agents share.
CREATE TABLE items (
  item      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant    text   NOT NULL,
  -- Labels with a dot behind each. Ranges of them are ranges of bytes.
  namespace text   COLLATE "C" NOT NULL,
  key       text   COLLATE "C" NOT NULL,
  value     text   NOT NULL,
  -- What a query is held against, as a list; all of the value when there is none.
  fields    text,
  created   bigint NOT NULL,
  updated   bigint NOT NULL,
  ttl       bigint,
  expires   bigint
);
CREATE UNIQUE INDEX items_id ON items (tenant, namespace, key);
CREATE INDEX items_expires ON items (expires) WHERE expires IS NOT NULL;
