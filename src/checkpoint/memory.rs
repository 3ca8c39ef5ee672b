use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::archive::{Event, FileType, LayerPath, Metadata, TarWriter};

use super::archive::read_tar;
use super::criu::{Process, process_name, process_tree};
use super::{Blob, Error, Keep, MAX_ARCHIVE, Memory, unpack_archive};

/// What the tar of CRIU's files is called in errors.
pub(super) const NAME: &str = "the memory image";
/// The largest file of CRIU that is looked into, in bytes.
const MAX_DESCRIPTION: u64 = 8 << 20;
/// The most files of CRIU that are looked into.
const MAX_FILES: usize = 4096;
/// The file with the tree of processes.
const TREE: &[u8] = b"pstree.img";

impl Memory {
    /// Puts CRIU's files into the folder `into`, which is made. It must be in the filesystem of the
    /// folder that the checkpoint was unpacked in.
    ///
    /// # Errors
    ///
    /// Those of [`unpack_archive`] and of [`Blob::read`]; [`Error::Io`].
    pub fn unpack(&self, into: &Path) -> Result<(), Error> {
        match self {
            Memory::Tar(blob) => {
                fs::create_dir(into).map_err(Error::io(into))?;
                blob.read(|stream| unpack_archive(stream, NAME, into, Keep::All)).map(drop)
            }
            Memory::Folder(folder) => fs::rename(folder, into).map_err(Error::io(into)),
        }
    }

    /// The processes in it.
    pub(super) fn processes(&self) -> Result<Vec<Process>, Error> {
        match self {
            Memory::Tar(blob) => of_tar(blob),
            Memory::Folder(folder) => of_folder(folder),
        }
    }
}

/// The files of CRIU that tell about processes, by name.
#[derive(Default)]
struct Described(BTreeMap<Vec<u8>, Vec<u8>>);

impl Described {
    /// Where the content of the file `name` belongs, if it is of use; it is empty at first.
    fn start(&mut self, name: &[u8]) -> Option<&mut Vec<u8>> {
        let is_core = name.starts_with(b"core-") && name.ends_with(b".img");
        let is_wanted = name == TREE || is_core;
        let has_room = self.0.len() < MAX_FILES;
        (is_wanted && has_room).then(|| {
            let content = self.0.entry(name.to_vec()).or_default();
            content.clear();
            content
        })
    }

    /// The content of the file `name`, which was started.
    fn file(&mut self, name: &[u8]) -> Option<&mut Vec<u8>> {
        self.0.get_mut(name)
    }

    fn processes(self) -> Result<Vec<Process>, Error> {
        let Some(tree) = self.0.get(TREE) else { return Ok(Vec::new()) };
        let mut processes = process_tree(tree)?;
        for process in &mut processes {
            if let Some(core) = self.0.get(format!("core-{}.img", process.pid).as_bytes()) {
                process.name = process_name(core)?;
            }
        }
        Ok(processes)
    }
}

fn of_tar(blob: &Blob) -> Result<Vec<Process>, Error> {
    let mut described = Described::default();
    // The name of the member that is coming, where it is of use.
    let mut current: Option<Vec<u8>> = None;
    blob.read(|stream| {
        read_tar(stream, NAME, MAX_ARCHIVE, &mut |event| {
            match event {
                Event::Entry(entry) => {
                    let path = LayerPath::parse(&entry.path).unwrap_or_default();
                    let name = path.file_name().unwrap_or_default();
                    let is_small = entry.size <= MAX_DESCRIPTION;
                    let wanted = is_small && described.start(name).is_some();
                    current = wanted.then(|| name.to_vec());
                }
                Event::Data { bytes, .. } => {
                    if let Some(content) = current.as_ref().and_then(|name| described.file(name)) {
                        content.extend_from_slice(bytes);
                    }
                }
                Event::End => {}
            }
            Ok(())
        })
    })?;
    described.processes()
}

fn of_folder(folder: &Path) -> Result<Vec<Process>, Error> {
    let mut described = Described::default();
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let entry = entry.map_err(Error::io(folder))?;
        if let Some(content) = described.start(entry.file_name().as_bytes()) {
            let path = entry.path();
            let file = File::open(&path).map_err(Error::io(&path))?;
            file.take(MAX_DESCRIPTION).read_to_end(content).map_err(Error::io(&path))?;
        }
    }
    described.processes()
}

/// Writes the files of the folder `from`, in which CRIU has left no folders, as a tar.
pub(super) fn pack(from: &Path, out: &mut dyn Write) -> Result<(), Error> {
    let mut names: Vec<_> = fs::read_dir(from)
        .and_then(|entries| entries.map(|e| e.map(|e| e.file_name())).collect())
        .map_err(Error::io(from))?;
    names.sort();
    let mut tar = TarWriter::new(out);
    let metadata =
        Metadata { file_type: FileType::Regular, mode: 0o600, ..Metadata::implied_directory() };
    let mut buf = vec![0; 1 << 20];
    for name in names {
        let path = from.join(&name);
        let mut file = File::open(&path).map_err(Error::io(&path))?;
        let found = file.metadata().map_err(Error::io(&path))?;
        if !found.is_file() {
            continue;
        }
        let place = LayerPath::parse(name.as_bytes()).map_err(|e| Error::Member {
            archive: NAME.to_owned(),
            member: name.to_string_lossy().into_owned(),
            problem: e.to_string(),
        })?;
        tar.file(&place, &metadata, found.len())?;
        loop {
            match file.read(&mut buf).map_err(Error::io(&path))? {
                0 => break,
                n => tar.data(&buf[..n])?,
            }
        }
    }
    tar.finish()?;
    Ok(())
}
