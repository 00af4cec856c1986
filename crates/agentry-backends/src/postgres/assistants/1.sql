-- Assistants, each of which is one of its versions.
CREATE TABLE assistants (
  assistant bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant    text   NOT NULL,
  id        text   COLLATE "C" NOT NULL,
  -- Which of its versions it is, and the newest one.
  version   bigint NOT NULL,
  newest    bigint NOT NULL,
  created   bigint NOT NULL,
  updated   bigint NOT NULL,
  UNIQUE (tenant, id)
);

CREATE TABLE assistant_versions (
  assistant   bigint NOT NULL REFERENCES assistants (assistant) ON DELETE CASCADE,
  version     bigint NOT NULL,
  graph       text   NOT NULL,
  name        text   NOT NULL,
  description text,
  config      text   NOT NULL,
  context     text   NOT NULL,
  metadata    text   NOT NULL,
  created     bigint NOT NULL,
  PRIMARY KEY (assistant, version)
);
