//! Every statement, with the names of the tables filled in once.

use super::migrate::with_prefix;

macro_rules! statements {
    ($($name:ident: $text:expr,)*) => {
        /// See the module.
        #[derive(Debug)]
        pub(super) struct Sql {
            $(pub $name: String,)*
        }

        impl Sql {
            pub fn new(prefix: &str) -> Self {
                Self { $($name: with_prefix($text, prefix),)* }
            }
        }
    };
}

statements! {
    positions: r#"SELECT log, sequence FROM "{p}positions" WHERE log = ANY($1)"#,
    put_positions: r#"INSERT INTO "{p}positions" (log, sequence) SELECT * FROM unnest($1::text[], $2::bigint[])
        ON CONFLICT (log) DO UPDATE SET sequence = excluded.sequence"#,
    enter: r#"INSERT INTO "{p}ledger" (event_id, time) SELECT id, $2 FROM unnest($1::text[]) id ORDER BY id
        ON CONFLICT DO NOTHING RETURNING event_id"#,
    prune: r#"DELETE FROM "{p}ledger" WHERE event_id IN
        (SELECT event_id FROM "{p}ledger" WHERE time < $1 ORDER BY time LIMIT $2)"#,
    put_users: r#"INSERT INTO "{p}users" (id, labels, comment)
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[])
        ON CONFLICT (id) DO UPDATE SET labels = excluded.labels, comment = excluded.comment"#,
    bare_users: r#"INSERT INTO "{p}users" (id) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING RETURNING id"#,
    known_users: r#"SELECT id FROM "{p}users" WHERE id = ANY($1)"#,
    delete_user: r#"DELETE FROM "{p}users" WHERE id = $1"#,
    delete_feedback_of_user: r#"DELETE FROM "{p}feedback"
        WHERE user_id = $1 AND feedback_type IN (SELECT name FROM "{p}types")"#,
    put_items: r#"INSERT INTO "{p}items" (id, is_hidden, categories, time, labels, comment, words)
        SELECT id, hidden, categories, time, labels, comment, string_to_array(words, E'\n')
        FROM unnest($1::text[], $2::bool[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[])
             AS row(id, hidden, categories, time, labels, comment, words)
        ON CONFLICT (id) DO UPDATE SET is_hidden = excluded.is_hidden, categories = excluded.categories,
             time = excluded.time, labels = excluded.labels, comment = excluded.comment, words = excluded.words"#,
    bare_items: r#"INSERT INTO "{p}items" (id, time, words)
        SELECT id, $2, string_to_array(words, E'\n') FROM unnest($1::text[], $3::text[]) AS row(id, words)
        WHERE NOT EXISTS (SELECT 1 FROM "{p}items" known WHERE known.id = row.id)
        ON CONFLICT DO NOTHING RETURNING id"#,
    known_items: r#"SELECT id FROM "{p}items" WHERE id = ANY($1)"#,
    delete_item: r#"DELETE FROM "{p}items" WHERE id = $1"#,
    delete_feedback_of_item: r#"DELETE FROM "{p}feedback" WHERE item_id = $1"#,
    new_types: r#"INSERT INTO "{p}types" (name) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING"#,
    // A sum that does not fit is the largest number; PostgreSQL would refuse to compute it.
    accumulate: r#"INSERT INTO "{p}feedback" AS old
            (feedback_type, user_id, item_id, value, time, updated, labels, comment)
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::float8[], $5::bigint[], $6::bigint[],
                             $7::text[], $8::text[])
        ON CONFLICT (feedback_type, user_id, item_id) DO UPDATE SET
            value = CASE WHEN old.value / 2 + excluded.value / 2 > 8.988465674311579e307 THEN 1.7976931348623157e308
                         WHEN old.value / 2 + excluded.value / 2 < -8.988465674311579e307 THEN -1.7976931348623157e308
                         ELSE old.value + excluded.value END,
            time = LEAST(old.time, excluded.time), updated = GREATEST(old.updated, excluded.updated),
            labels = excluded.labels, comment = excluded.comment"#,
    overwrite: r#"INSERT INTO "{p}feedback" (feedback_type, user_id, item_id, value, time, updated, labels, comment)
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::float8[], $5::bigint[], $6::bigint[],
                             $7::text[], $8::text[])
        ON CONFLICT (feedback_type, user_id, item_id) DO UPDATE SET value = excluded.value, time = excluded.time,
            updated = excluded.updated, labels = excluded.labels, comment = excluded.comment"#,
    delete_feedback: r#"DELETE FROM "{p}feedback" WHERE user_id = $1 AND item_id = $2 AND feedback_type IN
        (SELECT name FROM "{p}types" WHERE $3::text IS NULL OR name = $3)"#,
    applied_until: r#"SELECT sequence FROM "{p}positions" WHERE log = $1"#,
    user: r#"SELECT id, labels, comment FROM "{p}users" WHERE id = $1"#,
    users: r#"SELECT id, labels, comment FROM "{p}users" WHERE id = ANY($1)"#,
    list_users: r#"SELECT id, labels, comment FROM "{p}users" WHERE id >= $1 ORDER BY id LIMIT $2"#,
    item: r#"SELECT id, is_hidden, categories, time, labels, comment, no FROM "{p}items" WHERE id = $1"#,
    items: r#"SELECT id, is_hidden, categories, time, labels, comment, no FROM "{p}items" WHERE id = ANY($1)"#,
    list_items: r#"SELECT id, is_hidden, categories, time, labels, comment, no FROM "{p}items"
        WHERE id >= $1 ORDER BY id LIMIT $2"#,
    items_by_arrival: r#"SELECT id, is_hidden, categories, time, labels, comment, no FROM "{p}items"
        WHERE no >= $1 ORDER BY no LIMIT $2"#,
    search: r#"SELECT id, is_hidden, categories, time, labels, comment, no,
            (SELECT count(*) FROM unnest(words) word WHERE word = ANY($1)) AS score
        FROM "{p}items" WHERE words && $1 ORDER BY score DESC, no LIMIT $2"#,
    set_words: r#"UPDATE "{p}items" item SET words = string_to_array(row.words, E'\n')
        FROM unnest($1::text[], $2::text[]) AS row(id, words) WHERE item.id = row.id"#,
    // One look-up for each type, of which there are a handful.
    user_feedback: r#"SELECT f.* FROM unnest($1::text[]) wanted(id) CROSS JOIN "{p}types" t CROSS JOIN LATERAL
            (SELECT feedback_type, user_id, item_id, value, time, updated, labels, comment FROM "{p}feedback"
             WHERE feedback_type = t.name AND user_id = wanted.id AND time <= $2 OFFSET 0) f"#,
    item_feedback: r#"SELECT feedback_type, user_id, item_id, value, time, updated, labels, comment
        FROM "{p}feedback" WHERE item_id = $1 AND time <= $2 ORDER BY feedback_type, user_id"#,
    pair_feedback: r#"SELECT f.* FROM "{p}types" t CROSS JOIN LATERAL
            (SELECT feedback_type, user_id, item_id, value, time, updated, labels, comment FROM "{p}feedback"
             WHERE feedback_type = t.name AND user_id = $1 AND item_id = $2 OFFSET 0) f ORDER BY feedback_type"#,
    list_feedback: r#"SELECT feedback_type, user_id, item_id, value, time, updated, labels, comment
        FROM "{p}feedback" WHERE (feedback_type, user_id, item_id) >= ($1, $2, $3) AND time <= $4
        ORDER BY feedback_type, user_id, item_id LIMIT $5"#,
    list_feedback_of_type: r#"SELECT feedback_type, user_id, item_id, value, time, updated, labels, comment
        FROM "{p}feedback" WHERE feedback_type = $6 AND (feedback_type, user_id, item_id) >= ($1, $2, $3)
        AND time <= $4 ORDER BY feedback_type, user_id, item_id LIMIT $5"#,
    scan: r#"COPY (SELECT feedback_type, user_id, item_id, value, time, updated FROM "{p}feedback")
        TO STDOUT (FORMAT binary)"#,
    estimate: r#"SELECT GREATEST(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass($1)"#,
    count_users: r#"SELECT count(*) FROM "{p}users""#,
    count_items: r#"SELECT count(*) FROM "{p}items""#,
    count_feedback: r#"SELECT count(*) FROM "{p}feedback""#,
    ping: r#"SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool"#,
    purge: r#"TRUNCATE "{p}users", "{p}items", "{p}types", "{p}feedback", "{p}ledger", "{p}positions""#,
    search_columns: r#"SELECT value FROM "{p}ulex_meta" WHERE key = 'search'"#,
    set_search_columns: r#"INSERT INTO "{p}ulex_meta" VALUES ('search', $1)
        ON CONFLICT (key) DO UPDATE SET value = excluded.value"#,
}
