//! The header `Link` (RFC 8288), as lists of several pages have it.

/// The longest header that is looked at, in bytes.
const MAX_HEADER: usize = 8192;

/// The target of the link of relation `next`, which may be relative; `None` where the header has
/// none or is longer than 8 KiB.
///
/// ```
/// use stratafs::content::registry::headers::next_page;
/// assert_eq!(next_page("</v2/a/referrers/x?last=b>; rel=\"next\""), Some("/v2/a/referrers/x?last=b"));
/// ```
pub fn next_page(header: &str) -> Option<&str> {
    if header.len() > MAX_HEADER {
        return None;
    }
    let mut rest = header;
    loop {
        let (target, after) =
            rest.trim_start_matches([' ', '\t', ',']).strip_prefix('<')?.split_once('>')?;
        let (params, after) = after.split_at(end_of_params(after));
        if is_next(params) {
            return Some(target);
        }
        rest = after;
    }
}

/// Where the parameters end and the next link begins: at a comma outside of quotes.
fn end_of_params(text: &str) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => return at,
            _ => {}
        }
    }
    text.len()
}

/// Whether `; rel=next` is among the parameters; relations are words that spaces separate.
fn is_next(params: &str) -> bool {
    params.split(';').any(|param| {
        let Some((name, value)) = param.split_once('=') else { return false };
        let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
        name.trim().eq_ignore_ascii_case("rel") && relations.any(|r| r.eq_ignore_ascii_case("next"))
    })
}

#[cfg(test)]
mod tests {
    use super::next_page;

    #[test]
    fn the_link_of_the_relation_next_is_found_among_others() {
        for (header, target) in [
            ("</x?n=1>; rel=\"next\"", Some("/x?n=1")),
            ("</x>;rel=next", Some("/x")),
            ("</a>; rel=\"prev\", </b>; title=\"x, y\"; rel=\"last next\"", Some("/b")),
            ("<>; REL=NEXT", Some("")),
            ("</next>; rel=\"prev\"", None),
            ("</x>; title=\"next\"", None),
            ("</x>", None),
            ("/x; rel=next", None),
            ("</x; rel=next", None),
            ("", None),
        ] {
            assert_eq!(next_page(header), target, "{header}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_found_is_in_the_header(header in "[<>a-cé;=\",\\\\ ]{0,40}(; rel=next)?") {
            if let Some(target) = next_page(&header) {
                let link = format!("<{target}>");
                proptest::prop_assert!(header.contains(&link));
            }
        }
    }
}
