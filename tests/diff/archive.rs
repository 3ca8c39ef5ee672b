//! Archives made byte by byte, so that they can hold what no decent writer writes.

/// One member: a header, perhaps a PAX header before it, and data.
#[derive(Debug, Clone)]
pub struct Member {
    pub name: Vec<u8>,
    pub flag: u8,
    pub link: Vec<u8>,
    pub mode: u32,
    pub owner: (u32, u32),
    pub mtime: u64,
    pub device: (u32, u32),
    pub data: Vec<u8>,
    pub records: Vec<(String, Vec<u8>)>,
}

fn member(flag: u8, name: &str, mode: u32) -> Member {
    Member {
        name: name.into(),
        flag,
        link: Vec::new(),
        mode,
        owner: (0, 0),
        mtime: 1_700_000_000,
        device: (0, 0),
        data: Vec::new(),
        records: Vec::new(),
    }
}

pub fn dir(name: &str, mode: u32) -> Member {
    member(b'5', name, mode)
}

pub fn file(name: &str, data: impl AsRef<[u8]>) -> Member {
    Member { data: data.as_ref().to_vec(), ..member(b'0', name, 0o644) }
}

pub fn symlink(target: &str, name: &str) -> Member {
    Member { link: target.into(), ..member(b'2', name, 0o777) }
}

pub fn link(target: &str, name: &str) -> Member {
    Member { link: target.into(), ..member(b'1', name, 0o777) }
}

pub fn node(flag: u8, name: &str, device: (u32, u32)) -> Member {
    Member { device, ..member(flag, name, 0o600) }
}

impl Member {
    pub fn record(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.records.push((key.to_owned(), value.as_ref().to_vec()));
        self
    }

    pub fn xattr(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.record(&format!("SCHILY.xattr.{name}"), value)
    }

    pub fn owner(mut self, uid: u32, gid: u32) -> Self {
        self.owner = (uid, gid);
        self
    }

    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    pub fn mtime(mut self, mtime: u64) -> Self {
        self.mtime = mtime;
        self
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut records = Vec::new();
        for (key, value) in self.long_names().iter().chain(&self.records) {
            let rest = key.len() + value.len() + 3;
            let mut len = rest + 1;
            while len != rest + len.to_string().len() {
                len = rest + len.to_string().len();
            }
            records.extend_from_slice(format!("{len} {key}=").as_bytes());
            records.extend_from_slice(value);
            records.push(b'\n');
        }
        if !records.is_empty() {
            let extended = Member { data: records, ..member(b'x', "PaxHeaders/x", 0o644) };
            extended.write_plain(out);
        }
        self.write_plain(out);
    }

    fn long_names(&self) -> Vec<(String, Vec<u8>)> {
        let names = [("path", &self.name), ("linkpath", &self.link)];
        let long = names.into_iter().filter(|(_, name)| name.len() > 100);
        long.map(|(key, name)| (key.to_owned(), name.clone())).collect()
    }

    fn write_plain(&self, out: &mut Vec<u8>) {
        let mut block = [0_u8; 512];
        let text = |field: &mut [u8], text: &[u8]| {
            let n = text.len().min(field.len());
            field[..n].copy_from_slice(&text[..n]);
        };
        let octal = |field: &mut [u8], value: u64| {
            let width = field.len() - 1;
            let digits = format!("{value:0width$o}");
            assert_eq!(digits.len(), width);
            field[..width].copy_from_slice(digits.as_bytes());
        };
        text(&mut block[..100], &self.name);
        octal(&mut block[100..108], self.mode.into());
        octal(&mut block[108..116], self.owner.0.into());
        octal(&mut block[116..124], self.owner.1.into());
        octal(&mut block[124..136], self.data.len() as u64);
        octal(&mut block[136..148], self.mtime);
        block[156] = self.flag;
        text(&mut block[157..257], &self.link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        octal(&mut block[329..337], self.device.0.into());
        octal(&mut block[337..345], self.device.1.into());
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|&b| u64::from(b)).sum();
        octal(&mut block[148..155], sum);
        out.extend_from_slice(&block);
        out.extend_from_slice(&self.data);
        out.resize(out.len().next_multiple_of(512), 0);
    }
}

/// The archive of `members`.
pub fn tar(members: &[Member]) -> Vec<u8> {
    let mut out = Vec::new();
    for member in members {
        member.write(&mut out);
    }
    out.extend_from_slice(&[0; 1024]);
    out
}
