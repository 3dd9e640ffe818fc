-- Ids are compared by their bytes. Labels are JSON as text; NULL is null. Comments: NULL is empty.
-- Times are nanoseconds since 1970; the least integer is "no time given".
CREATE TABLE "{p}users" (
    user_id TEXT COLLATE "C" PRIMARY KEY,
    labels TEXT,
    comment TEXT
);

CREATE TABLE "{p}items" (
    item_id TEXT COLLATE "C" PRIMARY KEY,
    no BIGINT GENERATED ALWAYS AS IDENTITY UNIQUE,   -- the order in which items came
    is_hidden BOOLEAN NOT NULL,
    categories TEXT,                                 -- JSON array of texts; NULL is null
    time BIGINT NOT NULL,
    labels TEXT,
    comment TEXT,
    search TSVECTOR                                  -- the words by which it is found
);
CREATE INDEX "{p}items_search" ON "{p}items" USING gin (search);

-- Every type that feedback ever had: few, so that a user's rows are found by one look into the key for each.
CREATE TABLE "{p}types" (
    name TEXT COLLATE "C" PRIMARY KEY
);

-- Sums change in place: no index holds them, and a page has room for a second version of some rows.
CREATE TABLE "{p}feedback" (
    value DOUBLE PRECISION NOT NULL,
    time BIGINT NOT NULL,
    updated BIGINT NOT NULL,
    feedback_type TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    item_id TEXT COLLATE "C" NOT NULL,
    labels TEXT,
    comment TEXT,
    PRIMARY KEY (feedback_type, user_id, item_id)
) WITH (fillfactor = 90);
-- Of an item all rows are wanted together, and equal entries share their space. The other name of the same order keeps
-- the planner from taking this index where a whole key is given, as it may while it believes that the table is small.
CREATE INDEX "{p}feedback_item" ON "{p}feedback" (item_id COLLATE "POSIX");

CREATE TABLE "{p}ledger" (
    event_id TEXT COLLATE "C" PRIMARY KEY,
    time BIGINT NOT NULL
);
CREATE INDEX "{p}ledger_time" ON "{p}ledger" (time);

-- What was applied of logs whose entries count once: the highest position of each.
CREATE TABLE "{p}positions" (
    log TEXT COLLATE "C" PRIMARY KEY,
    sequence BIGINT NOT NULL
);
