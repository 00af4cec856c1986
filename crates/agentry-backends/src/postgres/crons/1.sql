-- What begins when its time comes.
CREATE TABLE crons (
  cron       bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant     text    COLLATE "C" NOT NULL,
  id         text    COLLATE "C" NOT NULL,
  assistant  text    NOT NULL,
  thread     text,
  "user"     text,
  schedule   text    NOT NULL,
  timezone   text,
  payload    text    NOT NULL,
  metadata   text    NOT NULL,
  end_at     bigint,
  enabled    boolean NOT NULL,
  next       bigint,
  -- Until when somebody has its occurrence.
  held_until bigint,
  created    bigint  NOT NULL,
  updated    bigint  NOT NULL,
  revision   bigint  NOT NULL DEFAULT 0,
  UNIQUE (tenant, id)
);
CREATE INDEX crons_next ON crons (next) WHERE next IS NOT NULL;
CREATE INDEX crons_user ON crons (tenant, "user") WHERE "user" IS NOT NULL;
