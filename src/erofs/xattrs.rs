//! Extended attributes: those of sets that several inodes have are stored once, in one area; an
//! inode names them by number. All others are stored with their inode.

use std::collections::HashMap;
use std::io::{self, Write};

use crate::tree::Tree;

use super::error::Error;
use super::format::{
    MAX_SHARED, MAX_XATTR_LEN, XATTR_ALIGN, XATTR_ENTRY_LEN, XATTR_HEADER_LEN, xattr_bit,
    xattr_header, xattr_namespace,
};

/// An attribute as EROFS has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Xattr<'t> {
    namespace: u8,
    name: &'t [u8],
    value: &'t [u8],
}

impl<'t> Xattr<'t> {
    /// The attribute of that whole name of the inode `ino`.
    fn new(ino: u32, name: &'t [u8], value: &'t [u8]) -> Result<Self, Error> {
        let text = || String::from_utf8_lossy(name).into_owned();
        if value.len() > usize::from(u16::MAX) {
            return Err(Error::XattrValue { ino, name: text() });
        }
        match xattr_namespace(name) {
            Some((namespace, name)) => Ok(Self { namespace, name, value }),
            None => Err(Error::XattrNamespace { ino, name: text() }),
        }
    }

    /// Its length in bytes, as an entry.
    fn len(&self) -> u64 {
        let len = XATTR_ENTRY_LEN + (self.name.len() + self.value.len()) as u64;
        len.next_multiple_of(XATTR_ALIGN)
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let name_len = u8::try_from(self.name.len()).unwrap_or(u8::MAX);
        let value_len = u16::try_from(self.value.len()).unwrap_or(u16::MAX).to_le_bytes();
        out.write_all(&[name_len, self.namespace, value_len[0], value_len[1]])?;
        out.write_all(self.name)?;
        out.write_all(self.value)?;
        let gap = XATTR_ENTRY_LEN + (self.name.len() + self.value.len()) as u64;
        let gap = gap.next_multiple_of(XATTR_ALIGN) - gap;
        (0..gap).try_for_each(|_| out.write_all(&[0]))
    }
}

/// The attributes that are stored once.
pub(super) struct SharedXattrs<'t> {
    tree: &'t Tree,
    numbers: HashMap<Xattr<'t>, u32>,
    /// In the order of their numbers.
    list: Vec<Xattr<'t>>,
    len: u64,
}

/// The attributes of one inode.
#[derive(Debug, Default)]
pub(super) struct Body<'t> {
    absent: u32,
    shared: Vec<u32>,
    inline: Vec<Xattr<'t>>,
}

impl<'t> SharedXattrs<'t> {
    /// Finds the sets of `tree` that more than one inode has.
    pub(super) fn of(tree: &'t Tree) -> Result<Self, Error> {
        let mut found = Self { tree, numbers: HashMap::new(), list: Vec::new(), len: 0 };
        if !tree.summary().has_xattrs {
            return Ok(found);
        }
        // By set, whether it was shared.
        let mut seen: HashMap<u32, bool> = HashMap::new();
        for ino in 1..=tree.summary().inodes {
            let Some(set) = tree.xattr_set(ino)? else { continue };
            if seen.get(&set) == Some(&false) {
                found.share(ino)?;
            }
            seen.entry(set).and_modify(|shared| *shared = true).or_insert(false);
        }
        Ok(found)
    }

    fn share(&mut self, ino: u32) -> Result<(), Error> {
        for xattr in self.tree.xattrs(ino)? {
            let (name, value) = xattr?;
            let xattr = Xattr::new(ino, name, value)?;
            if self.numbers.contains_key(&xattr) {
                continue;
            }
            let bound = u64::from(u32::MAX) * XATTR_ALIGN;
            let number = u32::try_from(self.len / XATTR_ALIGN)
                .map_err(|_| Error::TooMany { what: "bytes of shared attributes", bound })?;
            self.numbers.insert(xattr, number);
            self.list.push(xattr);
            self.len += xattr.len();
        }
        Ok(())
    }

    /// The length of the area in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Writes the area.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        self.list.iter().try_for_each(|xattr| xattr.write(out))
    }

    /// The attributes of `ino`.
    pub(super) fn body(&self, ino: u32) -> Result<Body<'t>, Error> {
        let mut body = Body { absent: u32::MAX, ..Body::default() };
        for xattr in self.tree.xattrs(ino)? {
            let (name, value) = xattr?;
            let xattr = Xattr::new(ino, name, value)?;
            body.absent &= !xattr_bit(xattr.namespace, xattr.name);
            match self.numbers.get(&xattr) {
                Some(number) if body.shared.len() < MAX_SHARED => body.shared.push(*number),
                Some(_) | None => body.inline.push(xattr),
            }
        }
        if body.len() > MAX_XATTR_LEN {
            return Err(Error::Xattrs { ino });
        }
        Ok(body)
    }
}

impl Body<'_> {
    /// Its length in bytes, header included; 0 where there are no attributes.
    pub(super) fn len(&self) -> u64 {
        if self.shared.is_empty() && self.inline.is_empty() {
            return 0;
        }
        let inline: u64 = self.inline.iter().map(Xattr::len).sum();
        XATTR_HEADER_LEN + XATTR_ALIGN * self.shared.len() as u64 + inline
    }

    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        if self.len() == 0 {
            return Ok(());
        }
        let shared = u8::try_from(self.shared.len()).unwrap_or(u8::MAX);
        out.write_all(&xattr_header(self.absent, shared))?;
        self.shared.iter().try_for_each(|number| out.write_all(&number.to_le_bytes()))?;
        self.inline.iter().try_for_each(|xattr| xattr.write(out))
    }
}
