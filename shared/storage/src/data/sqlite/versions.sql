-- A position has an epoch, and its message a fingerprint that tells it from another one at the same place. What was
-- applied before belongs to epoch 0.
ALTER TABLE "{p}positions" ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE "{p}positions" ADD COLUMN appended_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE "{p}positions" ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
-- The version of an item is the place of the command that wrote it.
ALTER TABLE "{p}items" ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE "{p}items" ADD COLUMN position INTEGER NOT NULL DEFAULT 0;
