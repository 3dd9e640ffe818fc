//! The statements of the writer, prepared once for each of its connections.

use tokio_postgres::{Client, Statement};

use super::copy::FEEDBACK_COLUMNS;
use super::error::PostgresError;
use super::migrate::{LOCK, with_prefix};

/// For the session of a writer: it knows its keys, so every look-up goes by an index whatever the planner believes of
/// the sizes; plans are made once. A writer that is stopped in the middle of a transaction loses it, and whoever
/// waits for one does not wait for ever.
pub(super) const SESSION: &str = "-c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off \
     -c plan_cache_mode=force_generic_plan -c synchronous_commit=on -c statement_timeout=60000 \
     -c lock_timeout=20000 -c idle_in_transaction_session_timeout=10000";

const TYPES: &str = r#"ARRAY(SELECT name FROM "{p}types")"#;

/// Statements by name, prepared together: one round trip for all of them.
macro_rules! statements {
    ($($name:ident: $sql:expr;)*) => {
        /// Everything the writer says. Arrays are parameters, so that a statement is one round trip however many rows
        /// it has.
        pub(super) struct Statements {
            $(pub $name: Statement,)*
        }

        impl Statements {
            pub async fn prepare(client: &Client, prefix: &str) -> Result<Self, PostgresError> {
                let prepare = |sql: &str| {
                    let sql = sql.replace("{types}", TYPES).replace("{feedback_columns}", FEEDBACK_COLUMNS);
                    let sql = with_prefix(&sql.replace("{lock}", &LOCK.to_string()), prefix);
                    async move { client.prepare(&sql).await }
                };
                let ($($name,)*) = tokio::try_join!($(prepare($sql)),*)?;
                Ok(Self { $($name),* })
            }
        }
    };
}

statements! {
    // One writer at a time among all processes: what was read is still true when it is written, and nothing
    // can deadlock. The lock is of the table, so prefixes and schemas do not disturb each other.
    lock: LOCK_SQL;
    meta: r#"SELECT value FROM "{p}meta" WHERE key = $1"#;
    put_meta: r#"INSERT INTO "{p}meta" VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value"#;
    known_events: r#"SELECT event_id FROM "{p}ledger" WHERE event_id = ANY($1)"#;
    positions: r#"SELECT log, epoch, sequence, appended_at, crc FROM "{p}positions""#;
    known_users: r#"SELECT user_id FROM "{p}users" WHERE user_id = ANY($1)"#;
    whole_users: r#"SELECT user_id, labels, comment FROM "{p}users" WHERE user_id = ANY($1)"#;
    known_items: r#"SELECT item_id FROM "{p}items" WHERE item_id = ANY($1)"#;
    whole_items: r#"SELECT item_id, is_hidden, categories, time, labels, comment FROM "{p}items"
                   WHERE item_id = ANY($1)"#;
    stored_feedback: STORED_FEEDBACK;
    put_users: r#"INSERT INTO "{p}users" (user_id, labels, comment)
                   SELECT * FROM unnest($1::text[], $2::text[], $3::text[])
                   ON CONFLICT (user_id) DO UPDATE SET labels = excluded.labels, comment = excluded.comment"#;
    put_items: PUT_ITEMS;
    put_types: r#"INSERT INTO "{p}types" (name) SELECT * FROM unnest($1::text[]) ON CONFLICT DO NOTHING"#;
    insert_feedback: r#"INSERT INTO "{p}feedback" ({feedback_columns})
                   SELECT * FROM unnest($1::float8[], $2::bigint[], $3::bigint[], $4::text[], $5::text[],
                       $6::text[], $7::text[], $8::text[])"#;
    copy_feedback: r#"COPY "{p}feedback" ({feedback_columns}) FROM STDIN (FORMAT binary)"#;
    update_feedback: UPDATE_FEEDBACK;
    put_events: r#"INSERT INTO "{p}ledger" (event_id, time) SELECT id, $2 FROM unnest($1::text[]) AS e (id)"#;
    put_positions: PUT_POSITIONS;
    delete_user: r#"DELETE FROM "{p}users" WHERE user_id = $1"#;
    delete_user_feedback: r#"DELETE FROM "{p}feedback" WHERE feedback_type = ANY({types}) AND user_id = $1"#;
    delete_item: r#"DELETE FROM "{p}items" WHERE item_id = $1"#;
    delete_item_feedback: r#"DELETE FROM "{p}feedback" WHERE item_id COLLATE "POSIX" = $1"#;
    delete_pair: r#"DELETE FROM "{p}feedback"
                   WHERE feedback_type = ANY({types}) AND user_id = $1 AND item_id = $2"#;
    delete_pair_of_type: r#"DELETE FROM "{p}feedback" WHERE feedback_type = $3 AND user_id = $1 AND item_id = $2"#;
}

const STORED_FEEDBACK: &str = r#"SELECT k.place, f.value, f.time, f.updated
    FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS k (name, usr, item, place)
    JOIN "{p}feedback" f ON f.feedback_type = k.name AND f.user_id = k.usr AND f.item_id = k.item"#;

/// The one statement of the writer that another connection may execute for it.
pub(super) async fn prepare_stored_feedback(
    client: &Client,
    prefix: &str,
) -> Result<Statement, PostgresError> {
    Ok(client.prepare(&with_prefix(STORED_FEEDBACK, prefix)).await?)
}

pub(super) const LOCK_SQL: &str =
    r#"SELECT pg_advisory_xact_lock({lock}, '"{text:p}meta"'::regclass::oid::int)"#;

const PUT_POSITIONS: &str = r#"INSERT INTO "{p}positions" (log, epoch, sequence, appended_at, crc)
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
    ON CONFLICT (log) DO UPDATE SET epoch = excluded.epoch, sequence = excluded.sequence,
        appended_at = excluded.appended_at, crc = excluded.crc"#;

// Rows get their numbers in the order of the arrays; one that exists keeps its own. No version goes back.
const PUT_ITEMS: &str = r#"INSERT INTO "{p}items" AS stored
        (item_id, is_hidden, categories, time, labels, comment, epoch, position, search)
    SELECT i.id, i.is_hidden, i.categories, i.time, i.labels, i.comment, i.epoch, i.position,
        array_to_tsvector(string_to_array(i.words, ' '))
    FROM unnest($1::text[], $2::bool[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[],
            $8::bigint[], $9::bigint[])
        WITH ORDINALITY AS i (id, is_hidden, categories, time, labels, comment, words, epoch, position, place)
    ORDER BY i.place
    ON CONFLICT (item_id) DO UPDATE SET is_hidden = excluded.is_hidden, categories = excluded.categories,
        time = excluded.time, labels = excluded.labels, comment = excluded.comment, search = excluded.search,
        epoch = greatest(stored.epoch, excluded.epoch),
        position = CASE WHEN (excluded.epoch, excluded.position) > (stored.epoch, stored.position)
            THEN excluded.position ELSE stored.position END"#;

const UPDATE_FEEDBACK: &str = r#"UPDATE "{p}feedback" f
    SET value = n.value, time = n.time, updated = n.updated, labels = n.labels, comment = n.comment
    FROM unnest($1::float8[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[],
        $8::text[]) AS n (value, time, updated, name, usr, item, labels, comment)
    WHERE f.feedback_type = n.name AND f.user_id = n.usr AND f.item_id = n.item"#;
