//! The wire format of protocol buffers, as far as checkpoints need it
//! (<https://protobuf.dev/programming-guides/encoding/>): fields of one message, one after another.
//! What a field means is the caller's; unknown fields are passed over by asking for others.

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A variable-length or fixed-length number.
    Number(u64),
    /// A string, bytes, a message, or packed numbers.
    Bytes(&'a [u8]),
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The bytes end inside of a field.
    #[error("it ends inside of a field")]
    Short,
    /// A number has more than 64 bits.
    #[error("a number has more than 64 bits")]
    LongNumber,
    /// A field has the number 0 or one beyond 2^29.
    #[error("it has a field number that cannot be")]
    FieldNumber,
    /// A field is of a wire type that is not in use.
    #[error("it has a field of wire type {0}")]
    WireType(u8),
    /// A string is not UTF-8.
    #[error("a string is not UTF-8")]
    NotUtf8,
}

/// The fields of a message in their order, each with its number; ends after an error.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The fields of the message `bytes`.
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], MessageError> {
        let len = usize::try_from(len).map_err(|_| MessageError::Short)?;
        let (taken, rest) = self.0.split_at_checked(len).ok_or(MessageError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u64, MessageError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or(MessageError::Short)?;
            self.0 = rest;
            // The tenth byte has room for the last bit only.
            if shift == 63 && byte > 1 {
                return Err(MessageError::LongNumber);
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(MessageError::LongNumber)
    }

    fn field(&mut self) -> Result<(u32, Value<'a>), MessageError> {
        let key = self.number()?;
        let number = u32::try_from(key >> 3).ok().filter(|n| (1..1 << 29).contains(n));
        let number = number.ok_or(MessageError::FieldNumber)?;
        let value = match key & 7 {
            0 => Value::Number(self.number()?),
            1 => Value::Number(little_endian(self.take(8)?)),
            2 => {
                let len = self.number()?;
                Value::Bytes(self.take(len)?)
            }
            5 => Value::Number(little_endian(self.take(4)?)),
            other => return Err(MessageError::WireType(other.to_le_bytes()[0])),
        };
        Ok((number, value))
    }
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), MessageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// Appends field `number` with the bytes `value` to `message`.
pub(super) fn put_bytes(message: &mut Vec<u8>, number: u8, value: &[u8]) {
    put_number(message, u64::from(number) << 3 | 2);
    put_number(message, value.len() as u64);
    message.extend_from_slice(value);
}

/// Appends field `number` with the number or truth `value` to `message`; zero is left out, as its
/// absence means it.
pub(super) fn put_varint(message: &mut Vec<u8>, number: u8, value: u64) {
    if value != 0 {
        put_number(message, u64::from(number) << 3);
        put_number(message, value);
    }
}

fn put_number(message: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = (number & 0x7f).to_le_bytes()[0];
        number >>= 7;
        if number == 0 {
            message.push(low);
            return;
        }
        message.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(bytes: &[u8]) -> Result<Vec<(u32, Value<'_>)>, MessageError> {
        Fields::of(bytes).collect()
    }

    #[test]
    fn every_wire_type_is_read() {
        let message = [
            0x08, 0x96, 0x01, // 1: varint 150
            0x11, 1, 0, 0, 0, 0, 0, 0, 0x80, // 2: fixed64
            0x1a, 2, b'h', b'i', // 3: bytes
            0x25, 2, 0, 0, 0, // 4: fixed32
        ];
        let expected = [
            (1, Value::Number(150)),
            (2, Value::Number(0x8000_0000_0000_0001)),
            (3, Value::Bytes(b"hi")),
            (4, Value::Number(2)),
        ];
        assert_eq!(all(&message).unwrap(), expected);
    }

    #[test]
    fn broken_messages_are_refused() {
        assert_eq!(all(&[0x08]), Err(MessageError::Short));
        assert_eq!(all(&[0x1a, 3, b'h', b'i']), Err(MessageError::Short));
        assert_eq!(all(&[0x00, 0]), Err(MessageError::FieldNumber));
        assert_eq!(all(&[0x0b]), Err(MessageError::WireType(3)));
        let mut long = vec![0x08];
        long.extend([0xff; 9]);
        assert_eq!(all(&[&long[..], &[0x01]].concat()).unwrap(), [(1, Value::Number(u64::MAX))]);
        assert_eq!(all(&[&long[..], &[0x02]].concat()), Err(MessageError::LongNumber));
        let huge = [0x1a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(all(&huge), Err(MessageError::Short));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(number in 1_u8..16, bytes: Vec<u8>, value in 1_u64..) {
            let mut message = Vec::new();
            put_bytes(&mut message, number, &bytes);
            put_varint(&mut message, number, value);
            let expected = [
                (u32::from(number), Value::Bytes(&bytes)),
                (u32::from(number), Value::Number(value)),
            ];
            prop_assert_eq!(all(&message).unwrap(), expected);
        }
    }
}
