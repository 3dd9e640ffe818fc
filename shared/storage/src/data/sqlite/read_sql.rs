//! The SQL of all reads.

use super::migrate::with_prefix;

/// The reads with the names of the tables filled in, so that a call never formats a query.
#[derive(Debug)]
pub(super) struct ReadSql {
    pub log_position: String,
    pub logs: String,
    pub user: String,
    pub list_users: String,
    pub item: String,
    pub item_state: String,
    pub list_items: String,
    pub items_by_arrival: String,
    pub user_feedback: String,
    pub item_feedback: String,
    pub pair_feedback: String,
    pub search: String,
    pub counts: String,
    pub types: String,
    pub walk_users: String,
    /// Of recent rows and of the others.
    pub users_of_type: [String; 2],
    pub user_id: String,
    pub item_id: String,
    pub feedback_of_user_and_type: String,
    /// Recent rows and the others.
    pub scan: [String; 2],
}

const POSITIONS: &str = r#"SELECT log, epoch, sequence, appended_at, crc FROM "{p}positions""#;
const ITEM: &str = "i.id, i.is_hidden, i.categories, i.time, i.labels, i.comment";
const FEEDBACK: &str = "t.name, u.id, i.id, f.value, f.time, f.updated, f.labels, f.comment";

// CROSS JOIN keeps SQLite to this order, whatever it thinks of the sizes.
const USER_FEEDBACK: &str = r#"SELECT {feedback} FROM "{p}users" u CROSS JOIN "{p}types" t
    CROSS JOIN "{table}" f ON f.type_no = t.no AND f.user_no = u.no
    CROSS JOIN "{p}items" i ON i.no = f.item_no
    WHERE u.id = ?1"#;
// The inner limits keep a look-up of a popular item short; each key found makes a row, so the outer one notices.
const ITEM_FEEDBACK: &str = r#"SELECT {feedback} FROM "{p}items" i CROSS JOIN (
        SELECT * FROM (SELECT item_no, type_no, user_no FROM "{p}recent_by_item"
            WHERE item_no = (SELECT no FROM "{p}items" WHERE id = ?1) LIMIT ?2)
        UNION SELECT * FROM (SELECT item_no, type_no, user_no FROM "{p}by_item"
            WHERE item_no = (SELECT no FROM "{p}items" WHERE id = ?1) LIMIT ?2)) k
    CROSS JOIN "{table}" f ON f.type_no = k.type_no AND f.user_no = k.user_no AND f.item_no = k.item_no
    CROSS JOIN "{p}types" t ON t.no = f.type_no CROSS JOIN "{p}users" u ON u.no = f.user_no
    WHERE i.id = ?1"#;
const PAIR_FEEDBACK: &str = r#"SELECT {feedback} FROM "{p}users" u CROSS JOIN "{p}items" i
    CROSS JOIN "{p}types" t
    CROSS JOIN "{table}" f ON f.type_no = t.no AND f.user_no = u.no AND f.item_no = i.no
    WHERE u.id = ?1 AND i.id = ?2"#;
const FEEDBACK_OF_USER_AND_TYPE: &str = r#"SELECT ?1, ?2, i.id, f.value, f.time, f.updated, f.labels, f.comment
    FROM "{table}" f CROSS JOIN "{p}items" i ON i.no = f.item_no
    WHERE f.type_no = ?3 AND f.user_no = ?4"#;
const SEARCH: &str = r#"SELECT {item}, -s.rank FROM "{p}search" s CROSS JOIN "{p}items" i ON i.no = s.rowid
    WHERE "{p}search" MATCH ?1 ORDER BY s.rank LIMIT ?2"#;
const COUNTS: &str = r#"SELECT (SELECT count(*) FROM "{p}users"), (SELECT count(*) FROM "{p}items"),
    (SELECT count(*) FROM "{p}by_item")
    + (SELECT count(*) FROM "{p}recent_by_item" r WHERE NOT EXISTS (SELECT 1 FROM "{p}by_item" k
       WHERE k.item_no = r.item_no AND k.type_no = r.type_no AND k.user_no = r.user_no))"#;
const USERS_OF_TYPE: &str = r#"SELECT user_no FROM "{table}" WHERE type_no = ?1 AND user_no > ?2
    ORDER BY user_no LIMIT 1"#;
const SCAN: &str = r#"SELECT type_no, user_no, item_no, value, time, updated FROM "{table}"
    WHERE (type_no, user_no, item_no) > (?1, ?2, ?3) ORDER BY type_no, user_no, item_no LIMIT ?4"#;

impl ReadSql {
    pub fn new(prefix: &str) -> Self {
        let sql = |text: &str| {
            let text = text.replace("{item}", ITEM).replace("{feedback}", FEEDBACK);
            with_prefix(&text, prefix)
        };
        let each =
            |text: &str| ["{p}recent", "{p}feedback"].map(|table| sql(&text.replace("{table}", table)));
        // One statement, so one state of the data: what is recent first, because the first of a key counts.
        let both = |text: &str| each(text).join(" UNION ALL ");
        Self {
            log_position: sql(&format!("{POSITIONS} WHERE log = ?1")),
            logs: sql(&format!("{POSITIONS} ORDER BY log")),
            user: sql(r#"SELECT id, labels, comment FROM "{p}users" WHERE id = ?1"#),
            list_users: sql(
                r#"SELECT id, labels, comment FROM "{p}users" WHERE id >= ?1 ORDER BY id LIMIT ?2"#,
            ),
            item: sql(r#"SELECT {item} FROM "{p}items" i WHERE id = ?1"#),
            item_state: sql(r#"SELECT {item}, i.epoch, i.position FROM "{p}items" i WHERE id = ?1"#),
            list_items: sql(r#"SELECT {item} FROM "{p}items" i WHERE id >= ?1 ORDER BY id LIMIT ?2"#),
            items_by_arrival: sql(
                r#"SELECT {item}, i.epoch, i.position, i.no FROM "{p}items" i WHERE no >= ?1 ORDER BY no LIMIT ?2"#,
            ),
            user_feedback: both(USER_FEEDBACK) + " LIMIT ?2",
            item_feedback: both(ITEM_FEEDBACK) + " LIMIT ?2",
            pair_feedback: both(PAIR_FEEDBACK),
            search: sql(SEARCH),
            counts: sql(COUNTS),
            types: sql(r#"SELECT no, name FROM "{p}types" WHERE name >= ?1 ORDER BY name"#),
            walk_users: sql(r#"SELECT no, id FROM "{p}users" WHERE id >= ?1 ORDER BY id"#),
            users_of_type: each(USERS_OF_TYPE),
            user_id: sql(r#"SELECT id FROM "{p}users" WHERE no = ?1"#),
            item_id: sql(r#"SELECT id FROM "{p}items" WHERE no = ?1"#),
            feedback_of_user_and_type: both(FEEDBACK_OF_USER_AND_TYPE),
            scan: each(SCAN),
        }
    }
}
