-- Ids are compared by their bytes, whatever the database's language. Labels are JSON as text: numbers and the order of
-- keys come back as they went in.
CREATE TABLE "{p}users" (
    id TEXT COLLATE "C" PRIMARY KEY,
    labels TEXT,                     -- JSON; NULL is null
    comment TEXT                     -- NULL is empty
);

CREATE TABLE "{p}items" (
    id TEXT COLLATE "C" PRIMARY KEY,
    no BIGINT GENERATED ALWAYS AS IDENTITY UNIQUE,
    is_hidden BOOLEAN NOT NULL DEFAULT FALSE,
    categories TEXT,                 -- JSON array of texts; NULL is null
    time BIGINT NOT NULL,            -- nanoseconds since 1970; the least integer is "no time given"
    labels TEXT,
    comment TEXT,
    words TEXT[]                     -- what search finds it by
);
CREATE INDEX "{p}items_words" ON "{p}items" USING gin (words);

CREATE TABLE "{p}types" (
    name TEXT COLLATE "C" PRIMARY KEY
);

CREATE TABLE "{p}feedback" (
    feedback_type TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    item_id TEXT COLLATE "C" NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    time BIGINT NOT NULL,
    updated BIGINT NOT NULL,
    labels TEXT,
    comment TEXT,
    PRIMARY KEY (feedback_type, user_id, item_id)
);
CREATE INDEX "{p}feedback_by_item" ON "{p}feedback" (item_id, feedback_type, user_id);

CREATE TABLE "{p}ledger" (
    event_id TEXT COLLATE "C" PRIMARY KEY,
    time BIGINT NOT NULL
);
CREATE INDEX "{p}ledger_by_time" ON "{p}ledger" (time);

-- How far each log has been applied.
CREATE TABLE "{p}positions" (
    log TEXT COLLATE "C" PRIMARY KEY,
    sequence BIGINT NOT NULL
);
