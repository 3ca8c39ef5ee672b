//! Reads flatbuffers of any origin: every offset is checked, and what is visited is bounded by a
//! multiple of the buffer's length, however often its parts refer to the same bytes.
//!
//! Source: FlatBuffers, "FlatBuffer Internals".

use std::cell::Cell;

use super::super::ZtocFault;

/// How often the bytes of a buffer may be visited on average. Writers share little.
const VISITS: usize = 16;
/// Visits that even a tiny buffer may have.
const VISITS_MIN: usize = 1 << 16;

/// A flatbuffer.
pub(super) struct Buffer<'a> {
    bytes: &'a [u8],
    visits: Cell<usize>,
}

/// A table in a flatbuffer.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    buffer: &'a Buffer<'a>,
    at: usize,
    vtable: usize,
    vtable_len: usize,
}

impl<'a> Buffer<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, visits: Cell::new(bytes.len().saturating_mul(VISITS) + VISITS_MIN) }
    }

    /// The table that the buffer is about.
    pub(super) fn root(&'a self) -> Result<Table<'a>, ZtocFault> {
        self.table(self.follow(0)?)
    }

    fn get<const N: usize>(&self, at: usize) -> Result<[u8; N], ZtocFault> {
        let bytes = self.bytes.get(at..).and_then(|rest| rest.first_chunk());
        bytes.copied().ok_or(ZtocFault::Bounds(at))
    }

    fn u32(&self, at: usize) -> Result<usize, ZtocFault> {
        usize::try_from(u32::from_le_bytes(self.get(at)?)).map_err(|_| ZtocFault::Bounds(at))
    }

    /// Where the offset at `at` leads.
    fn follow(&self, at: usize) -> Result<usize, ZtocFault> {
        at.checked_add(self.u32(at)?).ok_or(ZtocFault::Bounds(at))
    }

    fn visit(&self, len: usize, at: usize) -> Result<(), ZtocFault> {
        let left = self.visits.get().checked_sub(len.saturating_add(8));
        self.visits.set(left.ok_or(ZtocFault::Bounds(at))?);
        Ok(())
    }

    fn table(&'a self, at: usize) -> Result<Table<'a>, ZtocFault> {
        let back = i64::from(i32::from_le_bytes(self.get(at)?));
        let vtable = i64::try_from(at).ok().and_then(|at| at.checked_sub(back));
        let vtable = vtable.and_then(|vtable| usize::try_from(vtable).ok());
        let vtable = vtable.ok_or(ZtocFault::Bounds(at))?;
        let vtable_len = usize::from(u16::from_le_bytes(self.get(vtable)?));
        self.visit(8, at)?;
        Ok(Table { buffer: self, at, vtable, vtable_len })
    }

    /// The bytes of the string or vector of bytes at `at`, and where they start.
    fn bytes(&'a self, at: usize) -> Result<&'a [u8], ZtocFault> {
        let len = self.u32(at)?;
        self.visit(len, at)?;
        let end = (at + 4).checked_add(len).ok_or(ZtocFault::Bounds(at))?;
        self.bytes.get(at + 4..end).ok_or(ZtocFault::Bounds(at))
    }
}

impl<'a> Table<'a> {
    /// Where the field of `slot` is; `None` where the table leaves it to its default.
    fn field(&self, slot: usize) -> Result<Option<usize>, ZtocFault> {
        let entry = 4 + 2 * slot;
        if entry + 2 > self.vtable_len {
            return Ok(None);
        }
        match u16::from_le_bytes(self.buffer.get(self.vtable + entry)?) {
            0 => Ok(None),
            offset => Ok(Some(self.at + usize::from(offset))),
        }
    }

    pub(super) fn i8(&self, slot: usize) -> Result<Option<i8>, ZtocFault> {
        let at = self.field(slot)?;
        at.map(|at| Ok(i8::from_le_bytes(self.buffer.get(at)?))).transpose()
    }

    pub(super) fn u32(&self, slot: usize) -> Result<u32, ZtocFault> {
        let at = self.field(slot)?;
        at.map_or(Ok(0), |at| Ok(u32::from_le_bytes(self.buffer.get(at)?)))
    }

    pub(super) fn i64(&self, slot: usize) -> Result<i64, ZtocFault> {
        let at = self.field(slot)?;
        at.map_or(Ok(0), |at| Ok(i64::from_le_bytes(self.buffer.get(at)?)))
    }

    /// A string, or a vector of bytes; empty where there is none.
    pub(super) fn bytes(&self, slot: usize) -> Result<&'a [u8], ZtocFault> {
        let Some(at) = self.field(slot)? else { return Ok(&[]) };
        self.buffer.bytes(self.buffer.follow(at)?)
    }

    pub(super) fn table(&self, slot: usize) -> Result<Option<Table<'a>>, ZtocFault> {
        let Some(at) = self.field(slot)? else { return Ok(None) };
        self.buffer.table(self.buffer.follow(at)?).map(Some)
    }

    /// Where the elements of a vector of offsets lead.
    fn elements(
        &self,
        slot: usize,
    ) -> Result<impl Iterator<Item = Result<usize, ZtocFault>> + use<'a>, ZtocFault> {
        let buffer = self.buffer;
        let (start, count) = match self.field(slot)? {
            None => (0, 0),
            Some(at) => {
                let vector = buffer.follow(at)?;
                (vector + 4, buffer.u32(vector)?)
            }
        };
        if count > buffer.bytes.len() / 4 {
            return Err(ZtocFault::Bounds(start));
        }
        Ok((0..count).map(move |i| buffer.follow(start + 4 * i)))
    }

    pub(super) fn tables(
        &self,
        slot: usize,
    ) -> Result<impl Iterator<Item = Result<Table<'a>, ZtocFault>> + use<'a>, ZtocFault> {
        let buffer = self.buffer;
        Ok(self.elements(slot)?.map(move |at| buffer.table(at?)))
    }

    pub(super) fn strings(
        &self,
        slot: usize,
    ) -> Result<impl Iterator<Item = Result<&'a [u8], ZtocFault>> + use<'a>, ZtocFault> {
        let buffer = self.buffer;
        Ok(self.elements(slot)?.map(move |at| buffer.bytes(at?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root table with an i64 in slot 0, a string in slot 2, and a vector of strings in slot 3.
    fn sample() -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(16_u32.to_le_bytes()); // root: the table at 16
        bytes.extend([12_u8, 0, 20, 0, 12, 0, 0, 0, 4, 0, 8, 0]); // vtable at 4: 4 slots
        bytes.extend(12_i32.to_le_bytes()); // table at 16: vtable 12 back
        bytes.extend(16_u32.to_le_bytes()); // slot 2 at 20: string at 36
        bytes.extend(20_u32.to_le_bytes()); // slot 3 at 24: vector at 44
        bytes.extend((-7_i64).to_le_bytes()); // slot 0 at 28
        bytes.extend(b"\x04\0\0\0text"); // string at 36
        bytes.extend(2_u32.to_le_bytes()); // vector at 44
        bytes.extend((-12_i32).to_le_bytes()); // 48: 12 back, which no offset is
        bytes.extend(4_u32.to_le_bytes()); // 52: string at 56
        bytes.extend(b"\x01\0\0\0x");
        bytes
    }

    #[test]
    fn fields_are_found_and_missing_ones_have_defaults() {
        let bytes = sample();
        let buffer = Buffer::new(&bytes);
        let root = buffer.root().unwrap();
        assert_eq!(root.i64(0).unwrap(), -7);
        assert_eq!(root.i64(1).unwrap(), 0);
        assert_eq!(root.bytes(2).unwrap(), b"text");
        assert_eq!((root.u32(9).unwrap(), root.i8(9).unwrap()), (0, None));
        assert!(root.table(1).unwrap().is_none());
        let strings: Vec<_> = root.strings(3).unwrap().collect();
        assert!(matches!(strings[0], Err(ZtocFault::Bounds(_))));
        assert_eq!(strings[1], Ok(&b"x"[..]));
    }

    #[test]
    fn no_cut_and_no_changed_byte_leads_outside() {
        let bytes = sample();
        let visit = |bytes: &[u8]| {
            let buffer = Buffer::new(bytes);
            let Ok(root) = buffer.root() else { return };
            for slot in 0..5 {
                let _ = (root.i64(slot), root.bytes(slot), root.u32(slot), root.i8(slot));
                let _ = root.strings(slot).map(|all| all.filter(Result::is_ok).count());
                let _ = root.tables(slot).map(|all| all.filter(Result::is_ok).count());
                let _ = root.table(slot);
            }
        };
        for cut in 0..bytes.len() {
            visit(&bytes[..cut]);
        }
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] = value;
                visit(&changed);
            }
        }
    }

    #[test]
    fn bytes_that_many_refer_to_are_not_visited_for_ever() {
        let mut bytes = sample();
        let long = vec![b'x'; 100_000];
        let at = bytes.len() + 4 * 4000;
        let vector = bytes.len();
        bytes[24..28].copy_from_slice(&u32::try_from(vector - 24).unwrap().to_le_bytes());
        bytes.extend(4000_u32.to_le_bytes());
        for i in 0..4000 {
            let place = vector + 4 + 4 * i;
            bytes.extend(u32::try_from(at + 4 - place).unwrap().to_le_bytes());
        }
        bytes.extend(100_000_u32.to_le_bytes());
        bytes.extend(long);
        let buffer = Buffer::new(&bytes);
        let good = buffer.root().unwrap().strings(3).unwrap().take_while(Result::is_ok).count();
        assert!((10..100).contains(&good), "{good}");
    }
}
