//! Request bodies: bounded in size, time and sum, decompressed and decoded within bounds that follow from the same.
//!
//! The budget of all bodies is charged with the bytes that arrive, the bytes they inflate to and the bytes that the decoded
//! values take, and is given back when the values are dropped, not when the answer is sent.
//! A body may take as long as it needs while bytes keep coming at [`MIN_BYTES_PER_SECOND`]; one that stops coming for
//! `Limits::body_time` is given up.

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use actix_web::HttpRequest;
use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap};
use bytes::{Bytes, BytesMut};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use futures_util::StreamExt as _;

use crate::api::ApiState;
use crate::backend::BackendError;
use crate::decode::{Account, metered};
use crate::error::ApiError;
use crate::settings::Limits;

/// Larger bodies are decoded on the blocking pool, so that other requests of the thread go on.
const OFFLOAD_BYTES: usize = 256 << 10;

/// Room that an announced length is believed for before its bytes are there.
const PREALLOCATED_BYTES: usize = 1 << 20;

/// Decompression goes in steps of this size.
const INFLATE_STEP_BYTES: usize = 64 << 10;

/// Slowest arrival of a body, on average.
const MIN_BYTES_PER_SECOND: usize = 16 << 10;

/// A body may inflate to so many times its size. JSON of real rows inflates to 10 or 20 times.
const MAX_INFLATION: usize = 128;

/// Bodies that inflate to less than this may do so by any factor.
const FREE_INFLATION_BYTES: usize = 1 << 20;

/// Decoded values of a body may take so many times the largest body.
const MAX_DECODED_RATIO: usize = 4;

/// Copies of a decoded value at a time: itself and its form on the bus.
const DECODED_COPIES: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
    Deflate,
}

/// Bytes of the process-wide budget, given back when dropped.
struct Reservation {
    state: ApiState,
    bytes: usize,
    budget: usize,
}

impl Reservation {
    fn new(state: &ApiState, limits: &Limits) -> Self {
        Self { state: state.clone(), bytes: 0, budget: limits.bodies.max(limits.body) }
    }

    fn grow(&mut self, bytes: usize) -> Result<(), ApiError> {
        self.bytes += bytes;
        let before = self.state.body_bytes().fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > self.budget {
            return Err(ApiError::Backend(BackendError::Overloaded));
        }
        Ok(())
    }
}

impl Account for Reservation {
    fn charge(&mut self, bytes: usize) -> Result<(), ApiError> {
        self.grow(bytes.saturating_mul(DECODED_COPIES))
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

/// A body that has arrived.
pub(crate) struct Body {
    bytes: Bytes,
    encoding: Encoding,
    limits: Limits,
    reserved: Reservation,
}

/// Decoded values with the account that holds their bytes.
pub(crate) type Decoded<T> = (T, Box<dyn Account>);

/// Waits until the body has arrived.
pub(crate) async fn receive(
    request: &HttpRequest,
    payload: &mut Payload,
    state: &ApiState,
) -> Result<Body, ApiError> {
    let limits = state.settings().limits;
    let encoding = encoding(request.headers())?;
    let mut reserved = Reservation::new(state, &limits);
    let bytes = read(request.headers(), payload, &limits, &mut reserved).await?;
    Ok(Body { bytes, encoding, limits, reserved })
}

impl Body {
    /// Decodes the body, on the blocking pool if it is large.
    pub(crate) async fn decode<T, D>(self, decode: D) -> Result<Decoded<T>, ApiError>
    where
        T: Send + 'static,
        D: FnOnce(&[u8]) -> Result<T, ApiError> + Send + 'static,
    {
        if self.bytes.len() <= OFFLOAD_BYTES && self.encoding == Encoding::Identity {
            return self.decode_here(decode);
        }
        actix_web::web::block(move || self.decode_here(decode))
            .await
            .map_err(|reason| ApiError::Backend(BackendError::Internal(reason.to_string())))?
    }

    fn decode_here<T>(
        self,
        decode: impl FnOnce(&[u8]) -> Result<T, ApiError>,
    ) -> Result<Decoded<T>, ApiError> {
        let Self { bytes, encoding, limits, mut reserved } = self;
        let bytes = match encoding {
            Encoding::Identity => bytes,
            Encoding::Gzip => inflate(MultiGzDecoder::new(&*bytes), &limits, &mut reserved, bytes.len())?,
            Encoding::Deflate => inflate(ZlibDecoder::new(&*bytes), &limits, &mut reserved, bytes.len())?,
        };
        let limit = limits.body.saturating_mul(MAX_DECODED_RATIO);
        metered(limit, Box::new(reserved), || decode(&bytes))
    }
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
    let begun = Instant::now();
    let Some(first) = next(payload, limits, begun, 0).await? else { return Ok(Bytes::new()) };
    reserved.grow(first.len())?;
    if announced == Some(first.len()) {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(announced.unwrap_or(0).min(PREALLOCATED_BYTES).max(first.len()));
    whole.extend_from_slice(&first);
    while let Some(chunk) = next(payload, limits, begun, whole.len()).await? {
        reserved.grow(chunk.len())?;
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

/// The next bytes of a body of which `received` bytes have come since `begun`.
async fn next(
    payload: &mut Payload,
    limits: &Limits,
    begun: Instant,
    received: usize,
) -> Result<Option<Bytes>, ApiError> {
    let allowed = limits.body_time + Duration::from_secs((received / MIN_BYTES_PER_SECOND) as u64);
    let wait = limits.body_time.min(allowed.saturating_sub(begun.elapsed()));
    tokio::time::timeout(wait, payload.next())
        .await
        .map_err(|_elapsed| ApiError::BodyTimeout(limits.body_time.as_secs()))?
        .transpose()
        .map_err(|reason| ApiError::BadRequest(format!("the request body could not be read: {reason}")))
}

fn inflate(
    mut source: impl Read,
    limits: &Limits,
    reserved: &mut Reservation,
    compressed: usize,
) -> Result<Bytes, ApiError> {
    let most = compressed.saturating_mul(MAX_INFLATION).max(FREE_INFLATION_BYTES);
    let mut whole = Vec::new();
    loop {
        let before = whole.len();
        let read =
            source.by_ref().take(INFLATE_STEP_BYTES as u64).read_to_end(&mut whole).map_err(|reason| {
                ApiError::BadRequest(format!("the request body could not be decompressed: {reason}"))
            })?;
        reserved.grow(whole.len() - before)?;
        if whole.len() > limits.body {
            return Err(ApiError::BodyTooLarge(limits.body));
        }
        if whole.len() > most {
            return Err(ApiError::InflatesTooMuch(MAX_INFLATION));
        }
        if read == 0 {
            return Ok(Bytes::from(whole));
        }
    }
}
