-- The part of `cost` that no upstream has told.
ALTER TABLE usage ADD COLUMN estimated bigint NOT NULL DEFAULT 0;
