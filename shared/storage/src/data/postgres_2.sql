-- A position has an epoch, and its message a fingerprint that tells it from another one at the same place. What was
-- applied before belongs to epoch 0.
ALTER TABLE "{p}positions"
    ADD COLUMN epoch BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN appended_at BIGINT NOT NULL DEFAULT 0,   -- nanoseconds since 1970; 0 is "not known"
    ADD COLUMN crc BIGINT NOT NULL DEFAULT 0;

-- The version of an item is the place of the command that wrote it.
ALTER TABLE "{p}items"
    ADD COLUMN epoch BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN position BIGINT NOT NULL DEFAULT 0;
