//! What ends a gzip member, and the check of it.
//!
//! Checking takes a twentieth of the time of inflating. Where a thread has nothing to do but to
//! inflate, another one checks what it gave.

use crate::sys::inflate::crc32;

use super::DecodeError;

/// The length of a trailer in bytes.
pub(super) const TRAILER_SIZE: usize = 8;

/// The trailer of a gzip member (RFC 1952, section 2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trailer {
    /// CRC-32 of the member's uncompressed bytes.
    crc: u32,
    /// How many they are, modulo 2^32.
    len: u32,
}

impl Trailer {
    pub(super) fn parse(bytes: [u8; TRAILER_SIZE]) -> Self {
        let [a, b, c, d, e, f, g, h] = bytes;
        Self { crc: u32::from_le_bytes([a, b, c, d]), len: u32::from_le_bytes([e, f, g, h]) }
    }
}

/// What the trailer of a member has to say, as far as its bytes are known.
#[derive(Debug, Default)]
pub(super) struct MemberSum {
    crc: u32,
    len: u32,
}

impl MemberSum {
    /// Adds uncompressed bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.crc = crc32(self.crc, bytes);
        #[expect(clippy::cast_possible_truncation, reason = "the trailer counts modulo 2^32")]
        let len = bytes.len() as u32;
        self.len = self.len.wrapping_add(len);
    }

    /// Compares all that was added with what the member's trailer says, and starts the next member.
    pub(super) fn end(&mut self, trailer: Trailer) -> Result<(), DecodeError> {
        let Self { crc, len } = std::mem::take(self);
        match trailer {
            Trailer { crc: other, .. } if other != crc => Err(DecodeError::MemberChecksum),
            Trailer { len: other, .. } if other != len => Err(DecodeError::MemberLength),
            Trailer { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_what_its_trailer_says() {
        let right = [0x26, 0x39, 0xf4, 0xcb, 9, 0, 0, 0];
        let mut sum = MemberSum::default();
        for _ in 0..2 {
            sum.update(b"12345");
            sum.update(b"6789");
            sum.end(Trailer::parse(right)).unwrap();
        }
        for (byte, fault) in [(3, DecodeError::MemberChecksum), (7, DecodeError::MemberLength)] {
            let mut wrong = right;
            wrong[byte] ^= 0x80;
            sum.update(b"123456789");
            assert_eq!(sum.end(Trailer::parse(wrong)), Err(fault));
        }
    }
}
