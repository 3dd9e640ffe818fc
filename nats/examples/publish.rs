//! What a publisher does. Stands in `docs/publishing.md` as well.

use async_nats::HeaderMap;
use async_nats::jetstream;
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let url = std::env::var("NATS_URL").unwrap_or_else(|_| "nats://127.0.0.1:4222".to_owned());
    let stream = jetstream::new(async_nats::connect(url).await?);

    let read = json!({"FeedbackType": "read", "UserId": "rust", "ItemId": "dune", "Value": 1});
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", "read-rust-1");
    // The second `await` waits until the stream has it: repeat the whole if it fails, with the same id.
    let subject = "ulex.v1.default.event.feedback.shop";
    stream.publish_with_headers(subject, headers, read.to_string().into()).await?.await?;

    let items = json!([
        {"ItemId": "dune", "Categories": ["novels"], "Labels": {"author": "Herbert"}},
        {"Op": "patch", "ItemId": "dune", "Comment": "a classic"},
    ]);
    stream.publish("ulex.v1.default.event.item.shop", items.to_string().into()).await?.await?;
    Ok(())
}
