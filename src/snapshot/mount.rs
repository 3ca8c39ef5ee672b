/// One mount of a snapshot, in the words of `mount(8)`: what containerd's mount code, runc or
/// [`mounter`](super::mounter) perform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The type of the filesystem, or `bind`.
    pub fs_type: String,
    /// The device, folder or name to mount.
    pub source: String,
    /// A folder below the place of the mounts before, or empty for that place itself.
    pub target: String,
    /// The options of `fstab(5)`, each escaped for a joined option string.
    pub options: Vec<String>,
}

impl Mount {
    /// Whether nothing can be written through it (containerd's `Mount.ReadOnly`).
    pub fn read_only(&self) -> bool {
        let has = |wanted: &str| self.words().any(|option| option == wanted);
        match self.fs_type.rsplit('/').next() {
            Some("erofs") => true,
            Some("overlay") => has("ro") || !self.words().any(|o| o.starts_with("upperdir=")),
            Some(_) | None => has("ro"),
        }
    }

    /// The options, also those that were given joined by commas.
    fn words(&self) -> impl Iterator<Item = &str> {
        self.options.iter().flat_map(|option| option.split(','))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_only_as_containerd_says_it() {
        for (fs_type, options, read_only) in [
            ("erofs", &[][..], true),
            ("format/erofs", &[], true),
            ("overlay", &["lowerdir=/a:/b"], true),
            ("overlay", &["upperdir=/a", "workdir=/b"], false),
            ("overlay", &["index=off,upperdir=/a"], false),
            ("overlay", &["upperdir=/a", "ro"], true),
            ("bind", &["rbind", "ro"], true),
            ("bind", &["rbind,ro"], true),
            ("bind", &["rbind", "rw"], false),
            ("ext4", &[], false),
        ] {
            let options: Vec<String> = options.iter().map(|o| (*o).to_owned()).collect();
            let mount = Mount {
                fs_type: fs_type.to_owned(),
                source: String::new(),
                target: String::new(),
                options,
            };
            assert_eq!(mount.read_only(), read_only, "{mount:?}");
        }
    }
}
