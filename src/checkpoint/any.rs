use super::protobuf::{Fields, MessageError, Value, put_bytes};

/// The type of the runtime specification in an [`Any`], whose value is its JSON (containerd's
/// package `typeurl`).
pub const SPEC_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
/// The type of the options of a `runc checkpoint` in an [`Any`] (containerd's
/// `api/types/runc/options/oci.proto`).
pub const CHECKPOINT_OPTIONS_TYPE: &str = "containerd.runc.v1.CheckpointOptions";

/// A value with the name of its type (`google.protobuf.Any`), as the parts of a checkpoint are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Any {
    /// The name of the type.
    pub type_url: String,
    /// The value, in whatever encoding the type has.
    pub value: Vec<u8>,
}

impl Any {
    /// Parses the message.
    ///
    /// # Errors
    ///
    /// See [`MessageError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, MessageError> {
        let mut any = Self::default();
        for field in Fields::of(bytes) {
            match field? {
                (1, Value::Bytes(text)) => {
                    let text = std::str::from_utf8(text).map_err(|_| MessageError::NotUtf8)?;
                    text.clone_into(&mut any.type_url);
                }
                (2, Value::Bytes(value)) => any.value = value.to_vec(),
                _ => {}
            }
        }
        Ok(any)
    }

    /// The message as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut message = Vec::new();
        put_bytes(&mut message, 1, self.type_url.as_bytes());
        put_bytes(&mut message, 2, &self.value);
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_options_that_containerd_writes_are_read() {
        let bytes = b"\x0a\x1acontainerd.runc.v1.Options\x12\x102\x0e/usr/sbin/runc";
        let any = Any::parse(bytes).unwrap();
        assert_eq!(any.type_url, "containerd.runc.v1.Options");
        assert_eq!(any.value, b"2\x0e/usr/sbin/runc");
        assert_eq!(any.encode(), bytes);
    }

    #[test]
    fn a_name_that_is_no_text_is_refused() {
        assert_eq!(Any::parse(b"\x0a\x01\xff"), Err(MessageError::NotUtf8));
    }
}
