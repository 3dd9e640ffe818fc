//! Bytes that decoded values take, counted while a body is decoded.
//!
//! JSON of 2 bytes can become a value of 32, so a bound on the body is no bound on memory. A decoder counts each value
//! it keeps with [`count`]; decoding under [`metered`] ends at the first value over the limit. The account that the bytes
//! are charged to is handed back with the result and has to live as long as the values.

use std::cell::RefCell;

use serde::de::Error;

use crate::error::ApiError;

/// Bytes between two charges to the account.
const CHARGE_STEP_BYTES: usize = 64 << 10;

/// A budget that bytes are charged to, given back when dropped.
pub(crate) trait Account: Send {
    /// Charges `bytes` more.
    fn charge(&mut self, bytes: usize) -> Result<(), ApiError>;
}

struct Meter {
    used: usize,
    charged: usize,
    limit: usize,
    account: Box<dyn Account>,
    refusal: Option<ApiError>,
}

thread_local! {
    static METER: RefCell<Option<Meter>> = const { RefCell::new(None) };
}

/// Takes the meter off the thread, also when decoding panics.
struct Installed;

impl Drop for Installed {
    fn drop(&mut self) {
        METER.take();
    }
}

/// Runs `decode`, whose values may take at most `limit` bytes, all charged to `account`.
pub(crate) fn metered<T>(
    limit: usize,
    account: Box<dyn Account>,
    decode: impl FnOnce() -> Result<T, ApiError>,
) -> Result<(T, Box<dyn Account>), ApiError> {
    METER.set(Some(Meter { used: 0, charged: 0, limit, account, refusal: None }));
    let _installed = Installed;
    let decoded = decode();
    let Some(mut meter) = METER.take() else {
        return Err(ApiError::BadRequest("a body cannot be decoded within another one".to_owned()));
    };
    if let Some(refusal) = meter.refusal {
        return Err(refusal);
    }
    let decoded = decoded?;
    meter.account.charge(meter.used - meter.charged)?;
    Ok((decoded, meter.account))
}

impl Meter {
    fn add(&mut self, bytes: usize) -> bool {
        self.used = self.used.saturating_add(bytes);
        if self.used > self.limit {
            self.refusal = Some(ApiError::DecodedTooLarge(self.limit));
        } else if self.used - self.charged > CHARGE_STEP_BYTES {
            self.refusal = self.account.charge(self.used - self.charged).err();
            self.charged = self.used;
        }
        self.refusal.is_none()
    }
}

/// Counts `bytes` that a decoded value takes. Without a meter on the thread nothing is counted.
pub(super) fn count<E: Error>(bytes: usize) -> Result<(), E> {
    let may_go_on = METER.with_borrow_mut(|meter| meter.as_mut().is_none_or(|meter| meter.add(bytes)));
    if may_go_on { Ok(()) } else { Err(E::custom("the decoded body is too large")) }
}
