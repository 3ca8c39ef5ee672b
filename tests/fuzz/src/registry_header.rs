//! Any text as a header of a registry's answer.

use stratafs::content::registry::headers::{Challenge, ContentRange, next_page};

/// Parses `data` as each of them.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(range) = ContentRange::parse(&text) {
        assert!(range.first <= range.last && range.total.is_none_or(|total| range.last < total));
        let total = range.total.map_or("*".to_owned(), |total| total.to_string());
        let again = format!("bytes {}-{}/{total}", range.first, range.last);
        assert_eq!(ContentRange::parse(&again), Some(range));
    }
    for challenge in Challenge::parse_all(&text) {
        assert!(!challenge.scheme.is_empty() && challenge.scheme.is_ascii());
        assert_eq!(challenge.scheme, challenge.scheme.to_ascii_lowercase());
        let _ = (challenge.param("realm"), challenge.param("scope"));
    }
    if let Some(target) = next_page(&text) {
        assert!(text.contains(target) && !target.contains('>'));
    }
}
