use std::path::Path;
use std::sync::Arc;

use crate::io::{FileReader, ReadAt, Section};

use super::layout::{parse_index, parse_marker};
use super::provider::{check_size, not_found};
use super::{Descriptor, Error, MAX_DOCUMENT, Members, Provider};

/// An OCI image layout in a tar archive, read in place: a blob is a section of the file.
#[derive(Clone)]
pub struct OciArchive {
    name: String,
    archive: Arc<dyn ReadAt>,
    members: Arc<Members>,
    roots: Vec<Descriptor>,
}

impl OciArchive {
    /// Opens the archive at `path` and walks its headers.
    ///
    /// # Errors
    ///
    /// [`Error::BadStore`] for what is no such archive; [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let name = format!("oci-archive:{}", path.display());
        let file = FileReader::open(path).map_err(Error::io(&name))?;
        Self::new(name, Arc::new(file))
    }

    /// The archive in `archive`, called `name` in errors.
    ///
    /// # Errors
    ///
    /// As [`OciArchive::open`].
    pub fn new(name: String, archive: Arc<dyn ReadAt>) -> Result<Self, Error> {
        let bad = |reason: String| Error::BadStore { store: name.clone(), reason };
        let members = Members::read(&archive).map_err(bad)?;
        let file = |path| document(&name, &archive, &members, path);
        match file("oci-layout")? {
            Some(marker) => parse_marker(&marker).map_err(bad)?,
            None if members.contains("manifest.json") => {
                return Err(
                    bad("not an OCI archive but one of docker: use docker-archive:".into()),
                );
            }
            None => return Err(bad("not an OCI archive: it has no member oci-layout".into())),
        }
        let index = file("index.json")?.ok_or_else(|| bad("it has no index.json".into()))?;
        let roots = parse_index(&index).map_err(bad)?;
        Ok(Self { name, archive, members: Arc::new(members), roots })
    }

    /// The descriptors in `index.json`, in its order.
    pub fn roots(&self) -> &[Descriptor] {
        &self.roots
    }
}

impl Provider for OciArchive {
    fn name(&self) -> &str {
        &self.name
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Arc<dyn ReadAt>, Error> {
        let digest = &descriptor.digest;
        let path = format!("blobs/{}/{}", digest.algorithm().name(), digest.hex());
        match section(&self.name, &self.archive, &self.members, &path)? {
            Some(blob) => {
                check_size(&self.name, descriptor, blob.size())?;
                Ok(Arc::new(blob))
            }
            None => Err(not_found(&self.name, descriptor)),
        }
    }
}

/// The member `path` as a reader; `None` where there is none.
pub(super) fn section(
    store: &str,
    archive: &Arc<dyn ReadAt>,
    members: &Members,
    path: &str,
) -> Result<Option<Section<Arc<dyn ReadAt>>>, Error> {
    let bad = |reason| Error::BadStore { store: store.to_owned(), reason };
    let Some((offset, len)) = members.file(path).map_err(bad)? else { return Ok(None) };
    let section = Section::new(archive.clone(), offset, len);
    section.map(Some).map_err(Error::io(format_args!("{path} in {store}")))
}

/// The whole member `path`; `None` where there is none.
pub(super) fn document(
    store: &str,
    archive: &Arc<dyn ReadAt>,
    members: &Members,
    path: &str,
) -> Result<Option<Vec<u8>>, Error> {
    let Some(section) = section(store, archive, members, path)? else { return Ok(None) };
    if section.size() > MAX_DOCUMENT {
        let reason = format!("{path} has more than {MAX_DOCUMENT} bytes");
        return Err(Error::BadStore { store: store.to_owned(), reason });
    }
    let mut data = vec![0; usize::try_from(section.size()).unwrap_or(0)];
    section.read_exact_at(&mut data, 0).map_err(Error::io(format_args!("{path} in {store}")))?;
    Ok(Some(data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::conformance::{self, Known};

    fn archive(members: &[(&str, &[u8])]) -> Result<OciArchive, Error> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, data) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(data.len() as u64);
            builder.append_data(&mut header, path, *data).unwrap();
        }
        OciArchive::new("oci-archive:test.tar".into(), Arc::new(builder.into_inner().unwrap()))
    }

    #[test]
    fn archive_keeps_every_promise_of_a_provider() {
        let known = [Known::new(""), Known::new("one"), Known::new(vec![3; 70_000])];
        let paths: Vec<String> =
            known.iter().map(|k| format!("./blobs/sha256/{}", k.descriptor.digest.hex())).collect();
        let mut members: Vec<(&str, &[u8])> = vec![
            ("./oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
            ("./index.json", br#"{"schemaVersion":2,"manifests":null}"#),
        ];
        members.extend(paths.iter().zip(&known).map(|(p, k)| (p.as_str(), k.content.as_slice())));
        let archive = archive(&members).unwrap();
        assert!(archive.roots().is_empty());
        conformance::check(&archive, &known).unwrap();
    }

    #[test]
    fn what_is_no_oci_archive_is_refused_by_name() {
        let refused = |members: &[(&str, &[u8])]| match archive(members) {
            Err(e) => e.to_string(),
            Ok(_) => panic!("accepted"),
        };
        assert!(refused(&[("x", b"")]).contains("no member oci-layout"));
        assert!(refused(&[("manifest.json", b"[]")]).contains("use docker-archive:"));
        let marker: (&str, &[u8]) = ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        assert!(refused(&[marker]).contains("no index.json"));
        assert!(refused(&[marker, ("index.json", b"[")]).contains("index.json is broken"));
    }
}
