CREATE TABLE audit (
  number bigint PRIMARY KEY,
  entry  text   NOT NULL,
  digest text   NOT NULL
);

-- One row: the end of the chain. Whoever adds to it holds it.
CREATE TABLE audit_head (
  number bigint NOT NULL,
  digest text   NOT NULL
);
INSERT INTO audit_head VALUES (0, repeat('0', 64));

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the audit log is append-only';
END
$$;
CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
