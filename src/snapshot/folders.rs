//! The folders of snapshots, and how they come and go.
//!
//! The store decides what exists; a folder is made before its row is committed and moved to the
//! trash after its row is gone. So a folder without a row is left over from a process that died
//! in between, and whoever holds the store's write lock may throw it away: nobody else can be
//! about to commit a row for it.

use std::collections::HashSet;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::reserve::{Reserve, no_space};
use super::store::Id;
use super::{Error, Kind};
use crate::sys::{Dir, Status, XattrTarget, in_user_namespace, set_mode, set_mtime, set_owner};

/// The mode of the root of a snapshot without a parent, whatever the umask.
const ROOT_MODE: u32 = 0o755;

/// The attributes of overlayfs itself, which say where a folder stands and are not inherited; and
/// the label of a file, which the policy of the host gives.
const NOT_INHERITED: [&[u8]; 3] = [b"trusted.overlay.", b"user.overlay.", b"security.selinux"];

/// What the root of a new snapshot has from the root of its parent.
#[derive(Debug)]
pub(super) struct RootAttributes {
    status: Status,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl RootAttributes {
    /// Those of the folder at `path`.
    pub(super) fn of(path: &Path) -> Result<Self, Error> {
        let read = || {
            let dir = Dir::open(path)?;
            let target = XattrTarget::Open(dir.as_fd());
            let mut xattrs = Vec::new();
            for name in target.names()? {
                if NOT_INHERITED.iter().any(|prefix| name.starts_with(prefix)) {
                    continue;
                }
                if let Some(value) = target.get(&name)? {
                    xattrs.push((name, value));
                }
            }
            Ok(Self { status: dir.status()?, xattrs })
        };
        read().map_err(Error::io("read the attributes of", path))
    }

    fn apply(&self, dir: &Dir) -> io::Result<()> {
        set_owner(dir, self.status.uid, self.status.gid)?;
        for (name, value) in &self.xattrs {
            match XattrTarget::Open(dir.as_fd()).set(name, value) {
                // The filesystem of the upper folder has no such attributes.
                Err(e) if e.raw_os_error() == Some(libc::ENOTSUP) => {}
                other => other?,
            }
        }
        set_mode(dir, self.status.mode & 0o7777)?;
        set_mtime(dir, self.status.mtime, self.status.mtime_nanos)
    }
}

/// The folders below one state root.
#[derive(Debug)]
pub(super) struct Folders {
    /// Absolute, without links.
    root: String,
    snapshots: Dir,
    trash: Dir,
    reserve: Reserve,
    user_namespace: bool,
}

impl Folders {
    /// Opens the folders of `root`, making what is missing.
    pub(super) fn open(root: &Path) -> Result<Self, Error> {
        let make = |path: &Path| {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
            made.map_err(Error::io("create", path))
        };
        make(root)?;
        let root = root.canonicalize().map_err(Error::io("resolve", root))?;
        let open = |name: &str| {
            let path = root.join(name);
            make(&path)?;
            Dir::open(&path).map_err(Error::io("open", &path))
        };
        let (snapshots, trash) = (open("snapshots")?, open("trash")?);
        let root = root
            .into_os_string()
            .into_string()
            .map_err(|root| Error::RootNotUtf8 { root: root.into() })?;
        let reserve = Reserve::new(Path::new(&root).join("reserve"));
        reserve.restore();
        Ok(Self { root, snapshots, trash, reserve, user_namespace: in_user_namespace() })
    }

    /// The file of the metadata store.
    pub(super) fn metadata(&self) -> PathBuf {
        self.path_of("metadata.db")
    }

    /// The folder with the files of `id`; a link to its merged tree where it is lazy.
    pub(super) fn fs(&self, id: Id) -> String {
        format!("{}/snapshots/{id}/fs", self.root)
    }

    /// The work folder of overlayfs.
    pub(super) fn work(&self, id: Id) -> String {
        format!("{}/snapshots/{id}/work", self.root)
    }

    /// The room on disk for removals.
    pub(super) fn reserve(&self) -> &Reserve {
        &self.reserve
    }

    /// What was removed.
    pub(super) fn trash(&self) -> &Dir {
        &self.trash
    }

    /// Whether mounts are made in a user namespace.
    pub(super) fn user_namespace(&self) -> bool {
        self.user_namespace
    }

    /// Makes the folders of `id`, on disk when this returns; the caller has made its row in a write
    /// transaction that is still open.
    pub(super) fn create(
        &self,
        id: Id,
        kind: Kind,
        attributes: Option<&RootAttributes>,
    ) -> Result<(), Error> {
        self.make(id, |folder| {
            folder.create_dir(b"fs")?;
            if kind == Kind::Active {
                folder.create_dir(b"work")?;
            }
            let fs = folder.open_dir(b"fs")?;
            match attributes {
                Some(attributes) => attributes.apply(&fs),
                None => set_mode(&fs, ROOT_MODE),
            }
        })
    }

    /// As [`Folders::create`], for a lazy snapshot whose merged tree is at `target`.
    pub(super) fn create_link(&self, id: Id, target: &str) -> Result<(), Error> {
        self.make(id, |folder| folder.create_symlink(b"fs", target.as_bytes()))
    }

    fn make(&self, id: Id, fill: impl FnOnce(&Dir) -> io::Result<()>) -> Result<(), Error> {
        let name = id.to_string();
        let make = || {
            match self.snapshots.create_dir(name.as_bytes()) {
                // Left by a transaction that was undone, whose ID is given out again.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    self.throw_away(name.as_bytes())?;
                    self.snapshots.create_dir(name.as_bytes())?;
                }
                other => other?,
            }
            let folder = self.snapshots.open_dir(name.as_bytes())?;
            fill(&folder)?;
            folder.sync()?;
            self.snapshots.sync()
        };
        make().map_err(Error::io("create", &self.path_of("snapshots").join(&name)))
    }

    /// Lets the link of the lazy snapshot `id` lead to `target`.
    pub(super) fn relink(&self, id: Id, target: &str) -> Result<(), Error> {
        let path = PathBuf::from(self.fs(id));
        if std::fs::read_link(&path).is_ok_and(|old| old == Path::new(target)) {
            return Ok(());
        }
        let new = path.with_file_name(format!("fs.{}", std::process::id()));
        let link = || {
            match std::fs::remove_file(&new) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                Ok(()) | Err(_) => {}
            }
            std::os::unix::fs::symlink(target, &new)?;
            std::fs::rename(&new, &path)
        };
        link().map_err(Error::io("link", &path))
    }

    /// Moves the folder of `id`, whose row is gone for good, to the trash.
    pub(super) fn discard(&self, id: Id) -> Result<(), Error> {
        match self.throw_away(id.to_string().as_bytes()) {
            // Another process was faster.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(Error::io("remove", Path::new(&self.fs(id)))),
        }
    }

    fn throw_away(&self, name: &[u8]) -> io::Result<()> {
        self.throw_away_from(&self.snapshots, name)
    }

    /// Moves `name` of `dir`, a folder below the same root, to the trash.
    pub(super) fn throw_away_from(&self, dir: &Dir, name: &[u8]) -> io::Result<()> {
        for attempt in 0_u32.. {
            let mut new_name = name.to_vec();
            if attempt > 0 {
                new_name.extend_from_slice(format!(".{attempt}").as_bytes());
            }
            let rename = || dir.rename_to_new(name, &self.trash, &new_name);
            match self.reserve.or_give_up(no_space, rename) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                other => return other,
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// What is there that `ids` do not account for.
    pub(super) fn leftovers(&self, ids: &HashSet<Id>) -> Result<Vec<Box<[u8]>>, Error> {
        let names =
            self.snapshots.names().map_err(Error::io("list", &self.path_of("snapshots")))?;
        let known = |name: &[u8]| {
            let id = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
            id.is_some_and(|id| ids.contains(&Id(id)))
        };
        Ok(names.into_iter().filter(|name| !known(name)).collect())
    }

    /// Moves `leftovers` to the trash; the caller holds the store's write lock.
    pub(super) fn sweep(&self, leftovers: &[Box<[u8]>]) -> Result<(), Error> {
        for name in leftovers {
            let path = self.path_of("snapshots").join(String::from_utf8_lossy(name).as_ref());
            self.throw_away(name).map_err(Error::io("remove", &path))?;
        }
        Ok(())
    }

    /// Writes what the filesystem of the folders has not written yet.
    pub(super) fn sync_filesystem(&self) -> Result<(), Error> {
        self.snapshots.sync_filesystem().map_err(Error::io("sync", &self.path_of("snapshots")))
    }

    /// The file or folder `name` of the root.
    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        Path::new(&self.root).join(name)
    }
}
