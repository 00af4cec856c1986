-- How long a file is as it was sent; NULL where that is what its content has.
ALTER TABLE batch_files ADD COLUMN bytes INTEGER;
