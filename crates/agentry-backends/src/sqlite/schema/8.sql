-- Whose answer it is.
ALTER TABLE requests ADD COLUMN "user" TEXT;
CREATE INDEX requests_user ON requests (tenant, "user") WHERE "user" IS NOT NULL;
