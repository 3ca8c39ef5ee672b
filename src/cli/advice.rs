//! What a user can do about errors of snapshots, and of paths in images.

use crate::error::Classify;
use crate::image::Source;
use crate::snapshot::{Error, Kind};
use crate::tree::{self, Place, Tree};

use super::failure::Failure;

/// The failure with what to do about it.
pub(super) fn explain(e: Error) -> Failure {
    let advice = advice(&e);
    let failure = Failure::from(e);
    match advice {
        Some(advice) => failure.hint(advice),
        None => failure,
    }
}

fn advice(e: &Error) -> Option<String> {
    let text = match e {
        Error::NotFound { .. } => "stratafs snapshot ls lists what there is".to_owned(),
        Error::ParentNotFound { .. } => {
            "parents are committed snapshots; stratafs unpack IMAGE makes those of an image"
                .to_owned()
        }
        Error::ParentNotCommitted { parent, kind: Kind::Active } => {
            format!("commit it first: stratafs snapshot commit NAME {parent}")
        }
        Error::ParentNotCommitted { .. } => {
            "stratafs snapshot stat shows what a view stands on: take that".to_owned()
        }
        Error::Exists { key } => {
            format!("use another name, or: stratafs snapshot rm {key}")
        }
        Error::NotActive { .. } => {
            "what is to be committed is made by: stratafs snapshot prepare KEY PARENT".to_owned()
        }
        Error::NotMountable { key } => {
            format!("to read it: stratafs snapshot view KEY {key}; to change it: prepare KEY {key}")
        }
        Error::HasChild { child, .. } => {
            format!("stratafs snapshot tree shows what stands on it; first: snapshot rm {child}")
        }
        Error::Filter(_) => {
            r#"filters are kind==active, parent==NAME, labels."KEY"==VALUE and such, joined by ,"#
                .to_owned()
        }
        Error::LongLabel { .. } => "store the value elsewhere and a reference here".to_owned(),
        Error::EmptyKey | Error::LongKey { .. } => "give it another key".to_owned(),
        Error::TooManyLayers { .. } => {
            "join layers: stratafs commit KEY oci:DIR:TAG, then unpack --lazy".to_owned()
        }
        Error::ChainNotFound { .. } | Error::WrongChain { .. } => {
            "unpack the image again: stratafs unpack IMAGE".to_owned()
        }
        Error::Mount { .. } => "see dmesg for what the kernel says of the mount".to_owned(),
        Error::RootNotUtf8 { .. } => "give another state root by --root".to_owned(),
        Error::Busy { .. } | Error::Replaced { .. } => {
            "another process changes the same snapshots: try again".to_owned()
        }
        Error::NewerSchema { .. } | Error::ForeignStore { .. } | Error::Damaged { .. } => {
            "use the program that wrote this state root, or another root by --root".to_owned()
        }
        // Those of the system and of the disk have advice by their kind.
        Error::RebaseParentNotCommitted { .. }
        | Error::ParentFixed { .. }
        | Error::FixedField { .. }
        | Error::BadMount { .. }
        | Error::Layer(_)
        | Error::Io { .. }
        | Error::Database(_)
        | Error::StoreFull(_)
        | Error::Closed => return None,
    };
    Some(text)
}

/// The failure of opening `source`; where nothing of that kind is there, what would make it.
pub(super) fn explain_source(source: &Source, e: impl Classify) -> Failure {
    let made = match source {
        Source::Oci { path, .. } if !path.join("oci-layout").exists() => {
            format!("to make one: stratafs pull docker://NAME:TAG --to oci:{}:TAG", path.display())
        }
        Source::OciArchive { path, .. } if !path.exists() => {
            format!("to make one: skopeo copy docker://NAME:TAG oci-archive:{}:TAG", path.display())
        }
        Source::DockerArchive { path, .. } if !path.exists() => {
            format!("to make one: docker save --output {} NAME:TAG", path.display())
        }
        Source::Oci { .. }
        | Source::OciArchive { .. }
        | Source::DockerArchive { .. }
        | Source::Registry(_) => return e.into(),
    };
    Failure::from(e).hint(made)
}

/// Where `path` leads in `tree`, that of `image`; a failure says where to look.
pub(super) fn resolve(
    image: &str,
    tree: &Tree,
    path: &[u8],
    follow: bool,
) -> Result<Place, Failure> {
    tree.resolve(path, follow).map_err(|e| {
        let is_absent = matches!(e, tree::Error::NotFound(_) | tree::Error::ThroughFile(_));
        let failure = Failure::from(e);
        if !is_absent {
            return failure;
        }
        let parent = String::from_utf8_lossy(nearest_parent(tree, path)).into_owned();
        failure.hint(format!("stratafs ls {image} {parent} lists what there is"))
    })
}

/// The longest part of `path` that is there.
fn nearest_parent<'a>(tree: &Tree, path: &'a [u8]) -> &'a [u8] {
    let mut parent = path;
    while let Some(slash) = parent.iter().rposition(|b| *b == b'/') {
        parent = &parent[..slash];
        if !parent.is_empty() && tree.resolve(parent, true).is_ok() {
            return parent;
        }
    }
    b"/"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_names_an_image_that_is_not_there_is_told_how_to_make_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("img");
        for (transport, made) in [
            ("oci", "stratafs pull"),
            ("oci-archive", "skopeo copy"),
            ("docker-archive", "docker save"),
        ] {
            let source: Source = format!("{transport}:{}", path.display()).parse().unwrap();
            let failure = explain_source(&source, Error::EmptyKey);
            let advice = failure.advice().unwrap();
            assert!(advice.contains(made) && advice.contains(path.to_str().unwrap()), "{advice}");
        }
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("oci-layout"), "{}").unwrap();
        let source: Source = format!("oci:{}", path.display()).parse().unwrap();
        assert_eq!(explain_source(&source, Error::EmptyKey).advice(), None);
    }

    #[test]
    fn advice_names_what_is_in_the_way() {
        let taken = explain(Error::Exists { key: "name".into() });
        assert!(taken.advice().unwrap().ends_with("rm name"));
        let parent = Error::ParentNotCommitted { parent: "work".into(), kind: Kind::Active };
        assert!(explain(parent).advice().unwrap().ends_with("commit NAME work"));
        let child = Error::HasChild { key: "a".into(), child: "b".into() };
        assert!(explain(child).advice().unwrap().ends_with("rm b"));
    }
}
