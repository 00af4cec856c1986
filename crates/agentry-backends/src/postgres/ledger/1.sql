-- Money is in micro-dollars, times are microseconds since the Unix epoch, durations are in microseconds.

CREATE TABLE accounts (
  account     text   NOT NULL,
  period      text   NOT NULL,
  -- Spent outside of open slices.
  settled     bigint NOT NULL DEFAULT 0,
  -- The sum of `amount` of all open slices.
  outstanding bigint NOT NULL DEFAULT 0,
  -- What the last ask was granted.
  granted     bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (account, period)
) WITH (fillfactor = 70);

CREATE TABLE slices (
  account  text   NOT NULL,
  period   text   NOT NULL,
  instance text   NOT NULL,
  life     text   NOT NULL,
  amount   bigint NOT NULL,
  spent    bigint NOT NULL DEFAULT 0,
  -- By how much the last charge went beyond `amount`.
  beyond   bigint NOT NULL DEFAULT 0,
  opened   bigint NOT NULL,
  expires  bigint NOT NULL,
  version  bigint NOT NULL,
  PRIMARY KEY (account, period, instance, life)
) WITH (fillfactor = 70);
CREATE INDEX slices_holder ON slices (instance, life);

CREATE TABLE usage (
  id               bytea   PRIMARY KEY,
  at               bigint  NOT NULL,
  call_id          text    NOT NULL,
  tenant           text    NOT NULL,
  key              text    NOT NULL,
  "user"           text,
  team             text,
  session          text,
  run              text,
  model            text    NOT NULL,
  target           text,
  status           text    NOT NULL,
  input_tokens     bigint  NOT NULL,
  cached_tokens    bigint  NOT NULL,
  output_tokens    bigint  NOT NULL,
  reasoning_tokens bigint  NOT NULL,
  cost             bigint  NOT NULL,
  latency          bigint  NOT NULL,
  first_token      bigint,
  cache            text    NOT NULL,
  attempts         bigint  NOT NULL
);
CREATE INDEX usage_at ON usage (at);
CREATE INDEX usage_user ON usage (tenant, "user") WHERE "user" IS NOT NULL;

-- What is granted of what is free: all that is needed or nothing, and beyond that at most an eighth.
CREATE FUNCTION share_of(free bigint, need bigint, want bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE
    WHEN free <= 0 OR free < need THEN 0
    ELSE least(greatest(want, need), greatest(need, free / 8))
  END
$$;
