//! Memory for the bytes of one span, kept by each thread.

use std::cell::RefCell;

/// What a thread keeps at most, in bytes; spans are rarely larger than a quarter of it.
const MAX_KEPT: usize = 1 << 20;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Gives `len` bytes, whatever they are, to `f`, which must not do this itself.
pub(super) fn with_scratch<T>(len: usize, f: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|kept| {
        if kept.len() < len {
            kept.resize(len, 0);
        }
        let value = f(&mut kept[..len]);
        if kept.len() > MAX_KEPT {
            *kept = Vec::new();
        }
        value
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_the_length_asked_for_and_keeps_no_more_than_its_bound() {
        with_scratch(MAX_KEPT, |bytes| assert_eq!(bytes.len(), MAX_KEPT));
        with_scratch(7, |bytes| assert_eq!(bytes.len(), 7));
        SCRATCH.with_borrow(|kept| assert_eq!(kept.len(), MAX_KEPT));
        with_scratch(MAX_KEPT + 1, |bytes| assert_eq!(bytes.len(), MAX_KEPT + 1));
        SCRATCH.with_borrow(|kept| assert!(kept.is_empty()));
    }
}
