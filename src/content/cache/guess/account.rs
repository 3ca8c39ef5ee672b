use std::sync::atomic::{AtomicI64, Ordering};

/// What the account starts with, in compressed bytes.
pub(super) const FIRST_BALANCE: i64 = 2 << 20;
/// The most that is saved up.
const BALANCE_MAX: i64 = 4 << 20;

/// The compressed bytes that may still be guessed, of all layers of a cache.
#[derive(Debug)]
pub(in crate::content::cache) struct Account(pub(super) AtomicI64);

impl Account {
    pub(in crate::content::cache) fn new() -> Self {
        Self(AtomicI64::new(FIRST_BALANCE))
    }

    pub(super) fn earn(&self, bytes: i64) {
        let add = |balance: i64| Some(balance.saturating_add(bytes).min(BALANCE_MAX));
        let _always = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    pub(super) fn charge(&self, bytes: i64) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Takes `bytes`, if there are so many.
    pub(super) fn pay(&self, bytes: i64) -> bool {
        let take = |balance: i64| balance.checked_sub(bytes).filter(|left| *left >= 0);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}
