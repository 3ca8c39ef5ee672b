//! Tar archives by hand, for tests: any bytes in any field, with a right checksum.

use super::header::BLOCK;

/// A tar archive in the making.
#[derive(Debug, Default)]
pub(crate) struct TarWriter {
    bytes: Vec<u8>,
}

impl TarWriter {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A ustar header block of mode 0644, owner 1:2 and time 3, altered by `edit`.
    pub(crate) fn header(
        mut self,
        flag: u8,
        name: &[u8],
        size: u64,
        edit: impl FnOnce(&mut [u8]),
    ) -> Self {
        let mut block = [0; BLOCK];
        block[..name.len()].copy_from_slice(name);
        block[100..108].copy_from_slice(b"0000644\0");
        block[108..116].copy_from_slice(b"0000001\0");
        block[116..124].copy_from_slice(b"0000002\0");
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        block[136..147].copy_from_slice(b"00000000003");
        block[156] = flag;
        block[257..265].copy_from_slice(b"ustar\x0000");
        edit(&mut block);
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.bytes.extend(block);
        self
    }

    /// Raw bytes, padded to a block.
    pub(crate) fn data(mut self, data: &[u8]) -> Self {
        self.bytes.extend(data);
        let padded = self.bytes.len().next_multiple_of(BLOCK);
        self.bytes.resize(padded, 0);
        self
    }

    pub(crate) fn file(self, name: &[u8], data: &[u8]) -> Self {
        self.header(b'0', name, data.len() as u64, |_| {}).data(data)
    }

    /// A member without data.
    pub(crate) fn node(self, flag: u8, name: &[u8], link: &[u8]) -> Self {
        self.header(flag, name, 0, |block| block[157..157 + link.len()].copy_from_slice(link))
    }

    pub(crate) fn extension(self, flag: u8, content: &[u8]) -> Self {
        self.header(flag, b"ext", content.len() as u64, |_| {}).data(content)
    }

    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let content: Vec<u8> =
            records.iter().flat_map(|(key, value)| pax_record(key.as_bytes(), value)).collect();
        self.extension(b'x', &content)
    }

    /// The archive with its end blocks.
    pub(crate) fn end(mut self) -> Vec<u8> {
        self.bytes.extend([0; 2 * BLOCK]);
        self.bytes
    }
}

/// One record of a PAX header.
pub(crate) fn pax_record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let body = [b" ", key, b"=", value, b"\n"].concat();
    let mut len = body.len();
    while len != body.len() + len.to_string().len() {
        len = body.len() + len.to_string().len();
    }
    [len.to_string().as_bytes(), &body].concat()
}
