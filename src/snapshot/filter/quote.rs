//! Takes the quotes and escapes off a Go string literal (containerd's `pkg/filters/quote.go`).

use super::Problem;

/// The bytes that `literal` says, which starts and ends with the same quote of one byte.
///
/// `\xNN` and `\NNN` give single bytes, so the result need not be UTF-8.
pub(super) fn unquote(literal: &str) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::with_capacity(literal.len());
    let quote = literal.as_bytes().first().copied().unwrap_or(b'"');
    let mut rest = literal.get(1..literal.len().saturating_sub(1)).unwrap_or_default();
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        rest = unescape(&rest[at + 1..], quote, &mut bytes).ok_or(Problem::IllegalEscape)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

/// Appends what the escape at the start of `text`, its backslash gone, says, and returns the text
/// after it; `None` where it is no escape.
fn unescape<'a>(text: &'a str, quote: u8, out: &mut Vec<u8>) -> Option<&'a str> {
    let c = *text.as_bytes().first()?;
    let plain = match c {
        b'a' => 0x07,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        b'\\' => b'\\',
        b'x' => return number(text.get(1..)?, 16, 2, out),
        b'u' => return character(text.get(1..)?, 4, out),
        b'U' => return character(text.get(1..)?, 8, out),
        b'0'..=b'7' => return number(text, 8, 3, out),
        other if other == quote => quote,
        _ => return None,
    };
    out.push(plain);
    text.get(1..)
}

fn digits(text: &str, radix: u32, len: usize) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at_checked(len)?;
    // `from_str_radix` takes a sign, which is no digit.
    if !digits.bytes().all(|b| char::from(b).is_digit(radix)) {
        return None;
    }
    Some((u32::from_str_radix(digits, radix).ok()?, rest))
}

fn number<'a>(text: &'a str, radix: u32, len: usize, out: &mut Vec<u8>) -> Option<&'a str> {
    let (value, rest) = digits(text, radix, len)?;
    out.push(u8::try_from(value).ok()?);
    Some(rest)
}

/// Go encodes a surrogate as the replacement character.
fn character<'a>(text: &'a str, len: usize, out: &mut Vec<u8>) -> Option<&'a str> {
    let (value, rest) = digits(text, 16, len)?;
    let c = match value {
        0xd800..=0xdfff => char::REPLACEMENT_CHARACTER,
        other => char::from_u32(other)?,
    };
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    Some(rest)
}
