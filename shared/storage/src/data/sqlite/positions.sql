-- How far each log has been applied.
CREATE TABLE "{p}positions" (
    log TEXT PRIMARY KEY,
    sequence INTEGER NOT NULL
) WITHOUT ROWID;
