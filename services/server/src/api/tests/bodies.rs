use std::io::Write as _;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::json;

use super::Client;
use crate::settings::{ApiSettings, Limits};

fn bounded(body: usize) -> Client {
    let limits = Limits { body, bodies: 2 * body, ..Limits::default() };
    Client::new(ApiSettings { limits, ..ApiSettings::default() })
}

fn gzip(raw: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(raw).unwrap();
    encoder.finish().unwrap()
}

fn deflate(raw: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(raw).unwrap();
    encoder.finish().unwrap()
}

#[actix_web::test]
async fn compressed_bodies_are_read() {
    let user = br#"{"UserId":"u"}"#;
    for (encoding, body) in [("gzip", gzip(user)), ("deflate", deflate(user)), ("identity", user.to_vec())] {
        let client = Client::open().with("content-encoding", encoding);
        Client::rows(&client.send("POST", "/api/user", Some(body)).await, 1);
        assert_eq!(client.get("/api/user/u").await.status, 200);
    }
}

#[actix_web::test]
async fn broken_and_unknown_compression_is_refused() {
    let mut broken = gzip(br#"{"UserId":"u"}"#);
    broken.truncate(12);
    let client = Client::open().with("content-encoding", "gzip");
    client.send("POST", "/api/user", Some(broken)).await.refused(400, &["decompressed"]);
    let other = Client::open().with("content-encoding", "br");
    other.post("/api/user", json!({"UserId": "u"})).await.refused(400, &["Content-Encoding", "gzip"]);
    assert!(client.is_empty().await && other.is_empty().await);
}

#[actix_web::test]
async fn bodies_over_the_limit_are_413_also_when_they_grow_by_decompression() {
    let client = bounded(100_000);
    let large = json!({"UserId": "u", "Comment": "x".repeat(100_000)}).to_string();
    client.post("/api/user", &large).await.refused(413, &["100000 bytes"]);
    let bomb = bounded(100_000).with("content-encoding", "gzip");
    let body = gzip(&vec![b' '; 50_000_000]);
    assert!(body.len() < 100_000);
    bomb.send("POST", "/api/user", Some(body)).await.refused(413, &["100000 bytes"]);
    assert!(client.is_empty().await && bomb.is_empty().await);
    for client in [client, bomb] {
        assert_eq!(client.state.body_bytes().load(std::sync::atomic::Ordering::Relaxed), 0);
    }
}

#[actix_web::test]
async fn large_bodies_within_the_limit_are_read_on_another_thread() {
    let client = Client::open();
    let rows: Vec<_> = (0..5_000)
        .map(|row| json!({"FeedbackType": "t", "UserId": format!("u{row}"), "ItemId": "i", "Comment": "x".repeat(60)}))
        .collect();
    Client::rows(&client.post("/api/feedback", json!(rows)).await, 5_000);
    let mut bad = rows;
    bad[4_999]["UserId"] = json!("");
    client.post("/api/feedback", json!(bad)).await.refused(400, &["[4999].UserId"]);
}
