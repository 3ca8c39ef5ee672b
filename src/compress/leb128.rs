//! LEB128: unsigned numbers of up to 64 bits in bytes of 7 bits each, the lowest first.

/// Appends `value` to `out`.
pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Why bytes are no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NumberError {
    /// They end inside of it.
    Truncated,
    /// It has more than 64 bits.
    Range,
}

/// Takes a number from the start of `input`.
pub(super) fn take(input: &mut &[u8]) -> Result<u64, NumberError> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = input.split_first().ok_or(NumberError::Truncated)?;
        *input = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(NumberError::Range);
        }
        value |= bits << shift;
        if *byte < 0x80 {
            return Ok(value);
        }
    }
    Err(NumberError::Range)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_number_comes_back(value: u64, shift in 0..64_u32) {
            let mut bytes = Vec::new();
            put(&mut bytes, value >> shift);
            prop_assert!(bytes.len() <= 10);
            let mut input = &bytes[..];
            prop_assert_eq!(take(&mut input), Ok(value >> shift));
            prop_assert!(input.is_empty());
            let mut short = &bytes[..bytes.len() - 1];
            prop_assert_eq!(take(&mut short), Err(NumberError::Truncated));
        }
    }

    #[test]
    fn numbers_of_more_than_64_bits_are_refused() {
        assert_eq!(take(&mut &[0xff; 11][..]), Err(NumberError::Range));
        let two_to_the_64 = [[0x80; 9].as_slice(), &[2]].concat();
        assert_eq!(take(&mut &two_to_the_64[..]), Err(NumberError::Range));
    }
}
