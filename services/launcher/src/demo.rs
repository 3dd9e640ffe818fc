//! The system at work for somebody who sees it for the first time: a synthetic shop and the story told about it.
//!
//! [`shop::generate`] makes the data, [`configuration`] says how to serve it, [`story`] turns answers into text; only
//! [`performance`] talks to a server.

mod catalogue;
pub mod performance;
pub mod shop;
pub mod story;

/// The configuration file of the demonstration, in Gorse's notation.
#[must_use]
pub fn configuration(port: u16) -> String {
    format!(
        r#"[master]
http_host = "127.0.0.1"
http_port = {port}

[recommend]
cache_size = 100

[recommend.data_source]
positive_feedback_types = ["buy", "cart", "view"]
read_feedback_types = ["buy", "cart", "view"]

[[recommend.non-personalized]]
name = "most_bought"
score = "count(feedback, .FeedbackType == 'buy')"

[[recommend.item-to-item]]
name = "similar"
type = "users"

[[recommend.user-to-user]]
name = "neighbors"
type = "items"
"#
    )
}
