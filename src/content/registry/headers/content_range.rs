//! The header `Content-Range` (RFC 9110, section 14.4).

/// What an answer with status 206 says that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRange {
    /// The first byte.
    pub first: u64,
    /// The last byte, itself included.
    pub last: u64,
    /// The size of the whole, where it is known.
    pub total: Option<u64>,
}

impl ContentRange {
    /// `bytes FIRST-LAST/TOTAL`, or `*` for the total; `None` for anything else, a range that ends
    /// before it starts or beyond its total included.
    pub fn parse(header: &str) -> Option<Self> {
        let rest = header.trim().strip_prefix("bytes ")?;
        let (range, total) = rest.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last) = (number(first)?, number(last)?);
        let total = if total == "*" { None } else { Some(number(total)?) };
        (first <= last && total.is_none_or(|total| last < total)).then_some(Self {
            first,
            last,
            total,
        })
    }
}

/// Digits alone: not `+1`, which the standard library takes.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_and_sensible_ranges_are_understood() {
        let range = |first, last, total| Some(ContentRange { first, last, total });
        assert_eq!(ContentRange::parse("bytes 0-4/10"), range(0, 4, Some(10)));
        assert_eq!(ContentRange::parse("bytes 5-5/*"), range(5, 5, None));
        for header in [
            "",
            "bytes",
            "bytes */10",
            "bytes 5-4/10",
            "bytes 0-10/10",
            "bytes -4/10",
            "bytes 0-4",
            "items 0-4/10",
            "bytes +0-4/10",
            "bytes 0-99999999999999999999/*",
        ] {
            assert_eq!(ContentRange::parse(header), None, "{header}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_header_makes_it_panic(header in "(bytes )?[0-9*/ -]{0,30}") {
            if let Some(range) = ContentRange::parse(&header) {
                proptest::prop_assert!(range.first <= range.last);
            }
        }
    }
}
