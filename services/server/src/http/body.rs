//! Request bodies: bounded in size, time and sum, decompressed within the same bounds.

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix_web::HttpRequest;
use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap};
use bytes::{Bytes, BytesMut};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use futures_util::StreamExt as _;

use crate::api::ApiState;
use crate::backend::BackendError;
use crate::error::ApiError;
use crate::settings::Limits;

/// Larger bodies are decoded on the blocking pool, so that other requests of the thread go on.
const OFFLOAD: usize = 256 << 10;

/// Room that an announced length is believed for before its bytes are there.
const AHEAD: usize = 1 << 20;

/// Decompression goes in steps of this size.
const STEP: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
    Deflate,
}

/// Bytes of the process-wide budget, given back when dropped.
pub(crate) struct Reservation {
    state: ApiState,
    bytes: usize,
}

impl Reservation {
    fn new(state: &ApiState) -> Self {
        Self { state: state.clone(), bytes: 0 }
    }

    fn grow(&mut self, bytes: usize, limits: &Limits) -> Result<(), ApiError> {
        self.bytes += bytes;
        let before = self.state.body_bytes().fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > limits.bodies.max(limits.body) {
            return Err(ApiError::Backend(BackendError::Overloaded));
        }
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let counter: &AtomicUsize = self.state.body_bytes();
        counter.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Whether a request has a body.
pub(crate) fn is_present(headers: &HeaderMap) -> bool {
    match headers.get(CONTENT_LENGTH) {
        Some(length) => length != "0",
        None => headers.contains_key("transfer-encoding"),
    }
}

/// Reads the body and hands it to `decode`.
pub(crate) async fn decode<T, D>(
    request: &HttpRequest,
    payload: &mut Payload,
    state: &ApiState,
    (limits, decode): (Limits, D),
) -> Result<T, ApiError>
where
    T: Send + 'static,
    D: FnOnce(&[u8]) -> Result<T, ApiError> + Send + 'static,
{
    let encoding = encoding(request.headers())?;
    let mut reserved = Reservation::new(state);
    let reading = read(request.headers(), payload, &limits, &mut reserved);
    let bytes = tokio::time::timeout(limits.body_time, reading)
        .await
        .map_err(|_elapsed| ApiError::BodyTimeout(limits.body_time.as_secs()))??;
    if bytes.len() <= OFFLOAD && encoding == Encoding::Identity {
        return decode(&bytes);
    }
    actix_web::web::block(move || match encoding {
        Encoding::Identity => decode(&bytes),
        Encoding::Gzip => decode(&inflate(MultiGzDecoder::new(&*bytes), &limits, &mut reserved)?),
        Encoding::Deflate => decode(&inflate(ZlibDecoder::new(&*bytes), &limits, &mut reserved)?),
    })
    .await
    .map_err(|reason| ApiError::Backend(BackendError::Internal(reason.to_string())))?
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, ApiError> {
    let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(Encoding::Identity) };
    match value.to_str().unwrap_or("").trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(Encoding::Identity),
        "gzip" | "x-gzip" => Ok(Encoding::Gzip),
        "deflate" => Ok(Encoding::Deflate),
        other => {
            Err(ApiError::invalid("Content-Encoding", &format!("gzip, deflate or identity, got {other:?}")))
        }
    }
}

async fn read(
    headers: &HeaderMap,
    payload: &mut Payload,
    limits: &Limits,
    reserved: &mut Reservation,
) -> Result<Bytes, ApiError> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limits.body) {
        return Err(ApiError::BodyTooLarge(limits.body));
    }
    let Some(first) = next(payload).await? else { return Ok(Bytes::new()) };
    reserved.grow(first.len(), limits)?;
    if announced == Some(first.len()) {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(announced.unwrap_or(0).min(AHEAD).max(first.len()));
    whole.extend_from_slice(&first);
    while let Some(chunk) = next(payload).await? {
        reserved.grow(chunk.len(), limits)?;
        if whole.len() + chunk.len() > limits.body {
            return Err(ApiError::BodyTooLarge(limits.body));
        }
        whole.extend_from_slice(&chunk);
    }
    if whole.len() > limits.body {
        return Err(ApiError::BodyTooLarge(limits.body));
    }
    Ok(whole.freeze())
}

async fn next(payload: &mut Payload) -> Result<Option<Bytes>, ApiError> {
    payload
        .next()
        .await
        .transpose()
        .map_err(|reason| ApiError::BadRequest(format!("the request body could not be read: {reason}")))
}

fn inflate(mut source: impl Read, limits: &Limits, reserved: &mut Reservation) -> Result<Vec<u8>, ApiError> {
    let mut whole = Vec::new();
    loop {
        let before = whole.len();
        let read = source.by_ref().take(STEP as u64).read_to_end(&mut whole).map_err(|reason| {
            ApiError::BadRequest(format!("the request body could not be decompressed: {reason}"))
        })?;
        reserved.grow(whole.len() - before, limits)?;
        if whole.len() > limits.body {
            return Err(ApiError::BodyTooLarge(limits.body));
        }
        if read == 0 {
            return Ok(whole);
        }
    }
}
