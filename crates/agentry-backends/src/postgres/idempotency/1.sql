CREATE TABLE requests (
  tenant     text   NOT NULL,
  key        text   NOT NULL,
  digest     bytea  NOT NULL,
  attempt    bigint NOT NULL,
  -- NULL: it is answered.
  busy_until bigint,
  expires    bigint NOT NULL,
  -- NULL when it is answered: the answer was too large to be kept.
  answer     bytea,
  PRIMARY KEY (tenant, key)
);
CREATE INDEX requests_expires ON requests (expires);
