-- Users and items have numbers, so that a feedback row is three small integers and not three texts.
-- A number may be used again once its owner and all feedback of it are gone.
CREATE TABLE "{p}users" (
    no INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    labels TEXT,                     -- JSON; NULL is null
    comment TEXT                     -- NULL is empty
);

CREATE TABLE "{p}items" (
    no INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    is_hidden INTEGER NOT NULL DEFAULT 0,
    categories TEXT,                 -- JSON array of texts; NULL is null
    time INTEGER,                    -- nanoseconds since 1970; NULL is "no time given"
    labels TEXT,
    comment TEXT
);

CREATE TABLE "{p}types" (
    no INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

-- Feedback lies in two tables of the same form. New rows go into "recent", which is small, so that a commit of
-- rows in random order writes few pages; in small steps they move on to "feedback", in the order of the key.
-- A row in "recent" stands for the whole row: one of the same key in "feedback" is out of date.
CREATE TABLE "{p}recent" (
    type_no INTEGER NOT NULL,
    user_no INTEGER NOT NULL,
    item_no INTEGER NOT NULL,
    value REAL NOT NULL,
    time INTEGER NOT NULL,           -- nanoseconds since 1970; the least integer is "no time given"
    updated INTEGER,                 -- NULL is the same as time
    labels TEXT,
    comment TEXT,
    PRIMARY KEY (type_no, user_no, item_no)
) WITHOUT ROWID;

CREATE TABLE "{p}feedback" (
    type_no INTEGER NOT NULL,
    user_no INTEGER NOT NULL,
    item_no INTEGER NOT NULL,
    value REAL NOT NULL,
    time INTEGER NOT NULL,
    updated INTEGER,
    labels TEXT,
    comment TEXT,
    PRIMARY KEY (type_no, user_no, item_no)
) WITHOUT ROWID;

-- The keys of both, item first; again new ones apart. A key may be in both.
CREATE TABLE "{p}recent_by_item" (
    item_no INTEGER NOT NULL,
    type_no INTEGER NOT NULL,
    user_no INTEGER NOT NULL,
    PRIMARY KEY (item_no, type_no, user_no)
) WITHOUT ROWID;

CREATE TABLE "{p}by_item" (
    item_no INTEGER NOT NULL,
    type_no INTEGER NOT NULL,
    user_no INTEGER NOT NULL,
    PRIMARY KEY (item_no, type_no, user_no)
) WITHOUT ROWID;

CREATE TABLE "{p}ledger" (
    event_id TEXT PRIMARY KEY,
    time INTEGER NOT NULL
) WITHOUT ROWID;
