-- What was applied of logs whose entries count once: the highest position of each.
CREATE TABLE "{p}logs" (
    log TEXT PRIMARY KEY,
    sequence INTEGER NOT NULL
) WITHOUT ROWID;
