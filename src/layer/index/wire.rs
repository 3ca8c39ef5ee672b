//! Varints and byte strings: what sections are made of.

use super::FormatError;

/// Appends `value` as LEB128.
pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Appends the difference of `value` to `foreseen`, zigzag-coded.
pub(super) fn put_difference(out: &mut Vec<u8>, value: u64, foreseen: u64) {
    put(out, zigzag(value.wrapping_sub(foreseen).cast_signed()));
}

/// Small numbers of either sign as small numbers.
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// Appends the length of `bytes` and `bytes`.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// What is left to decode.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], FormatError> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or(FormatError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, FormatError> {
        let (&byte, rest) = self.0.split_first().ok_or(FormatError::Truncated)?;
        self.0 = rest;
        Ok(byte)
    }

    pub(super) fn number(&mut self) -> Result<u64, FormatError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(FormatError::Range("varint"))
    }

    /// A number that fits `T`.
    pub(super) fn narrow<T: TryFrom<u64>>(&mut self, what: &'static str) -> Result<T, FormatError> {
        T::try_from(self.number()?).map_err(|_| FormatError::Range(what))
    }

    /// What [`put_difference`] wrote.
    pub(super) fn difference(&mut self, foreseen: u64) -> Result<u64, FormatError> {
        let coded = self.number()?;
        let value = (coded >> 1) ^ (coded & 1).wrapping_neg();
        Ok(foreseen.wrapping_add(value))
    }

    /// What [`put_bytes`] wrote.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], FormatError> {
        let len = self.narrow("length")?;
        self.take(len)
    }

    pub(super) fn end(&self) -> Result<(), FormatError> {
        if self.0.is_empty() { Ok(()) } else { Err(FormatError::Trailing) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), 1 << 63, u64::MAX] {
            let mut out = Vec::new();
            put(&mut out, value);
            assert_eq!(Input(&out).number().unwrap(), value);
            assert!(Input(&out[..out.len() - 1]).number().is_err());
            for foreseen in [0, 1, u64::MAX, value, value.wrapping_add(7)] {
                let mut out = Vec::new();
                put_difference(&mut out, value, foreseen);
                assert_eq!(Input(&out).difference(foreseen).unwrap(), value);
            }
        }
    }

    #[test]
    fn numbers_of_more_than_64_bits_are_refused() {
        assert!(Input(&[0xff; 11]).number().is_err());
        assert!(
            Input(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2]).number().is_err()
        );
    }
}
