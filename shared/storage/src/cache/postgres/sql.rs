//! The statements, with the name of the table filled in.

use crate::data::postgres::migrate::{LOCK, with_prefix};

/// See the module documentation.
pub(super) struct Sql {
    /// Makes the table.
    pub make: String,
    /// User to mark and entry.
    pub read: String,
    /// User, mark, seconds of life to the mark that is there now.
    pub leave_mark: String,
    /// User, mark, entry, seconds of life to a row if it was stored.
    pub put: String,
    /// Users.
    pub remove: String,
    pub clear: String,
    /// Rows at most to those deleted because they had expired.
    pub expired: String,
    /// Share of the pages to look at, in percent, to rows and bytes in them.
    pub sample: String,
    /// To bytes on disk of the table without what is stored out of line.
    pub size: String,
    /// Rows at most to those deleted because they expire soonest.
    pub soonest: String,
}

const MAKE: &str = r#"BEGIN;
SELECT pg_advisory_xact_lock({lock}, hashtext(coalesce(current_schema(), '') || '{text:p}cached_lists'));
CREATE UNLOGGED TABLE IF NOT EXISTS "{p}cached_lists" (
    user_id BYTEA PRIMARY KEY,
    mark BIGINT NOT NULL,
    entry BYTEA,
    expires TIMESTAMPTZ NOT NULL
);
CREATE INDEX IF NOT EXISTS "{p}cached_lists_expires" ON "{p}cached_lists" (expires);
COMMIT"#;

const LEAVE_MARK: &str = r#"INSERT INTO "{p}cached_lists" AS there (user_id, mark, expires)
VALUES ($1, $2, now() + make_interval(secs => $3))
ON CONFLICT (user_id) DO UPDATE SET
    mark = CASE WHEN there.expires > now() THEN there.mark ELSE excluded.mark END,
    entry = CASE WHEN there.expires > now() THEN there.entry END,
    expires = CASE WHEN there.expires > now() THEN there.expires ELSE excluded.expires END
RETURNING mark"#;

const PUT: &str = r#"UPDATE "{p}cached_lists" SET entry = $3, expires = now() + make_interval(secs => $4)
WHERE user_id = $1 AND mark = $2 AND expires > now() RETURNING 1"#;

// In one order, so that two of these cannot wait for each other.
const REMOVE: &str = r#"WITH found AS MATERIALIZED (
    SELECT user_id FROM "{p}cached_lists" WHERE user_id = ANY($1) ORDER BY user_id FOR UPDATE
)
DELETE FROM "{p}cached_lists" AS there USING found WHERE there.user_id = found.user_id"#;

const DELETE_SOME: &str = r#"WITH found AS MATERIALIZED (
    SELECT user_id FROM "{p}cached_lists" WHERE {which} ORDER BY expires LIMIT $1 FOR UPDATE SKIP LOCKED
)
DELETE FROM "{p}cached_lists" AS there USING found WHERE there.user_id = found.user_id RETURNING 1"#;

impl Sql {
    pub fn new(prefix: &str) -> Self {
        let sql = |text: &str| with_prefix(&text.replace("{lock}", &LOCK.to_string()), prefix);
        Self {
            make: sql(MAKE),
            read: sql(r#"SELECT mark, entry FROM "{p}cached_lists" WHERE user_id = $1 AND expires > now()"#),
            leave_mark: sql(LEAVE_MARK),
            put: sql(PUT),
            remove: sql(REMOVE),
            clear: sql(r#"TRUNCATE "{p}cached_lists""#),
            expired: sql(&DELETE_SOME.replace("{which}", "expires <= now()")),
            sample: sql(
                r#"SELECT count(*), coalesce(sum(octet_length(user_id) + coalesce(octet_length(entry), 0)), 0)::int8
                FROM "{p}cached_lists" TABLESAMPLE SYSTEM ($1::float8)"#,
            ),
            size: sql(r#"SELECT pg_relation_size('"{text:p}cached_lists"'::regclass)"#),
            soonest: sql(&DELETE_SOME.replace("{which}", "true")),
        }
    }
}
