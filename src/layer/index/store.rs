use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::compress::SpanTable;
use crate::digest::{Algorithm, Digest};
use crate::error::{Classify, Kind};
use crate::io::{AtomicFile, FileReader, ReadAt};

use super::decode::{Header, Section, decode_identity, decode_table};
use super::layout::HEADER_LEN;
use super::{FormatError, Identity, LayerIndex, Origin, WindowsApart};

/// What file names end in.
const SUFFIX: &str = ".toc";
/// How many bytes are read at once of what is only checked.
const PIECE: usize = 64 << 10;

/// What reading bytes of a layer takes: its index without the TOC.
pub struct StoredTable {
    /// Which layer it is of.
    pub identity: Identity,
    /// How to decode any part of it.
    pub table: SpanTable,
    /// The packed windows that the table refers to, in the file of the index; nothing where they
    /// are `apart`.
    pub windows: Arc<dyn ReadAt>,
    /// Where the windows are, if not in the file.
    pub apart: Option<WindowsApart>,
}

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file could not be read, written or removed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// The index cannot be written as a file.
    #[error(transparent)]
    Format(#[from] FormatError),
}

impl Classify for StoreError {
    fn kind(&self) -> Kind {
        match self {
            StoreError::Io { source, .. } => Kind::of_io(source),
            StoreError::Format(e) => e.kind(),
        }
    }
}

/// Why a file that is there is not used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("it is the index of {0}")]
    OtherLayer(Digest),
}

/// The layer indexes of one state root: `DIR/<algorithm>-<hex of the blob digest>.toc`, and for those
/// of foreign origin `DIR/<algorithm>-<hex of the blob digest>.<tag of the origin>.toc`.
///
/// A file that is damaged, of another version or of another layer counts as absent; the next
/// [`IndexStore::save`] replaces it.
#[derive(Debug, Clone)]
pub struct IndexStore {
    dir: PathBuf,
}

impl IndexStore {
    /// The store in `dir`, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// Those of making the folder.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(dir).map_err(at(dir))?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// Where the index of the blob `digest` of that origin is kept.
    pub fn path(&self, digest: &Digest, origin: &Origin) -> PathBuf {
        let tag = origin.tag(digest).map_or_else(String::new, |tag| format!(".{tag}"));
        self.dir.join(format!("{}-{}{tag}{SUFFIX}", digest.algorithm().name(), digest.hex()))
    }

    /// The index of the blob `digest` of that origin; `None` where there is none to be used.
    ///
    /// # Errors
    ///
    /// Those of reading a file that is there.
    pub fn load(&self, digest: &Digest, origin: &Origin) -> Result<Option<LayerIndex>, StoreError> {
        self.read(digest, origin, |file| {
            let mut bytes = vec![0; usize::try_from(file.size()).map_err(io::Error::other)?];
            file.read_exact_at(&mut bytes, 0)?;
            let index = LayerIndex::decode(&bytes)?;
            same_layer(&index.identity, digest, origin)?;
            Ok(index)
        })
    }

    /// The index of the blob `digest` without its TOC, which is then neither read nor decoded.
    ///
    /// The windows are checked and stay in the file, which is held open.
    ///
    /// # Errors
    ///
    /// As [`IndexStore::load`].
    pub fn load_table(
        &self,
        digest: &Digest,
        origin: &Origin,
    ) -> Result<Option<StoredTable>, StoreError> {
        self.read(digest, origin, |file| {
            let mut start = vec![0; HEADER_LEN];
            let n = file.read_at(&mut start, 0)?;
            let header = Header::decode(&start[..n], file.size())?;
            let identity = decode_identity(&section(&file, &header.identity)?)?;
            same_layer(&identity, digest, origin)?;
            let spans = section(&file, &header.spans)?;
            let (table, apart) = decode_table(&header, &spans, &section(&file, &header.apart)?)?;
            check(&file, &header.windows)?;
            let (offset, len) = (header.windows.offset, header.windows.len);
            let windows = Arc::new(crate::io::Section::new(file, offset, len)?);
            Ok(StoredTable { identity, table, windows, apart })
        })
    }

    fn read<T>(
        &self,
        digest: &Digest,
        origin: &Origin,
        act: impl FnOnce(FileReader) -> Result<T, Unusable>,
    ) -> Result<Option<T>, StoreError> {
        let path = self.path(digest, origin);
        let file = match fs::File::open(&path) {
            Ok(file) => FileReader::new(file).map_err(at(&path))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(at(&path)(e)),
        };
        match act(file) {
            Ok(found) => Ok(Some(found)),
            Err(Unusable::Io(e)) if e.kind() != io::ErrorKind::UnexpectedEof => Err(at(&path)(e)),
            Err(unusable) => {
                let path = path.display();
                tracing::warn!(%digest, %path, "layer index is not used: {unusable}");
                Ok(None)
            }
        }
    }

    /// Keeps `index`, in place of what was there of its blob and origin; it is on disk when this returns.
    ///
    /// # Errors
    ///
    /// Those of writing; what was there before is then still there.
    pub fn save(&self, index: &LayerIndex) -> Result<(), StoreError> {
        let bytes = index.encode()?;
        let path = self.path(&index.identity.digest, &index.identity.origin);
        let write = || {
            let mut file = AtomicFile::create(&path)?;
            file.file().write_all(&bytes)?;
            file.commit()
        };
        write().map_err(at(&path))
    }

    /// The files that are here, used or not, each with the blob that it is of, in no order.
    ///
    /// # Errors
    ///
    /// Those of reading the folder.
    pub fn list(&self) -> Result<Vec<(Digest, PathBuf)>, StoreError> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(at(&self.dir))? {
            let entry = entry.map_err(at(&self.dir))?;
            let digest = entry.file_name().to_str().and_then(digest_of);
            files.extend(digest.map(|digest| (digest, entry.path())));
        }
        Ok(files)
    }

    /// Removes the index of the blob `digest` of that origin; says whether there was one.
    ///
    /// # Errors
    ///
    /// Those of `unlink`.
    pub fn remove(&self, digest: &Digest, origin: &Origin) -> Result<bool, StoreError> {
        let path = self.path(digest, origin);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(at(&path)(e)),
        }
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> StoreError {
    move |source| StoreError::Io { path: path.to_owned(), source }
}

fn section(file: &FileReader, section: &Section) -> Result<Vec<u8>, Unusable> {
    let mut bytes = vec![0; usize::try_from(section.len).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, section.offset)?;
    section.check(&bytes)?;
    Ok(bytes)
}

/// Checks a section that is not read as a whole.
fn check(file: &FileReader, section: &Section) -> Result<(), Unusable> {
    let (mut piece, mut checksum) = (vec![0; PIECE], 0);
    let (mut offset, end) = (section.offset, section.offset + section.len);
    while offset < end {
        let want = usize::try_from(end - offset).unwrap_or(usize::MAX).min(PIECE);
        file.read_exact_at(&mut piece[..want], offset)?;
        checksum = crc32c::crc32c_append(checksum, &piece[..want]);
        offset += want as u64;
    }
    Ok(section.check_sum(checksum)?)
}

fn same_layer(identity: &Identity, digest: &Digest, origin: &Origin) -> Result<(), Unusable> {
    if identity.digest == *digest && identity.origin == *origin {
        return Ok(());
    }
    Err(Unusable::OtherLayer(identity.digest.clone()))
}

fn digest_of(file_name: &str) -> Option<Digest> {
    let stem = file_name.strip_suffix(SUFFIX)?.split('.').next()?;
    let (algorithm, hex) = stem.split_once('-')?;
    let known = [Algorithm::Sha256, Algorithm::Sha512];
    known.iter().find(|known| known.name() == algorithm)?;
    format!("{algorithm}:{hex}").parse().ok()
}
