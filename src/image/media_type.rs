//! The media types that are told apart by name (OCI image specification, `media-types.md`; docker
//! image manifest version 2, schema 2; containerd `core/images/mediatypes.go`).

/// An image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An image configuration.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// The config of an artifact that needs none.
pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// A layer, uncompressed.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// A layer in gzip.
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// A layer in zstd.
pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// Docker's manifest list.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's image manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's image configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Docker's layer, compressed or not.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// Docker's layer in gzip.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// Docker's layer in zstd.
pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";
/// Docker's layer that may not be passed on.
pub const DOCKER_FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar";
/// Docker's layer that may not be passed on, in gzip.
pub const DOCKER_FOREIGN_GZIP: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
/// A layer that is an EROFS image.
pub const EROFS_LAYER: &str = "application/vnd.erofs.layer.v1";
/// An in-toto statement.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";
/// The memory image of a checkpoint, a tar of what CRIU wrote.
pub const CRIU: &str = "application/vnd.containerd.container.criu.checkpoint.criu.tar";
/// The runtime specification of a checkpointed container.
pub const CHECKPOINT_CONFIG: &str =
    "application/vnd.containerd.container.checkpoint.config.v1+proto";
/// The options that a checkpoint was made with.
pub const CHECKPOINT_OPTIONS: &str =
    "application/vnd.containerd.container.checkpoint.options.v1+proto";
/// The runtime options of a checkpointed container.
pub const CHECKPOINT_RUNTIME_OPTIONS: &str =
    "application/vnd.containerd.container.checkpoint.runtime.options+proto";

/// The name of the runtime of a checkpointed container.
pub const CHECKPOINT_RUNTIME_NAME: &str =
    "application/vnd.containerd.container.checkpoint.runtime.name";
/// The rw layer of a checkpointed container, where its media type is not that of any layer.
pub const CHECKPOINT_RW: &str = "application/vnd.containerd.container.rw.tar";

/// What a descriptor leads to, by its media type alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// An image manifest, of OCI or docker.
    Manifest,
    /// An image index, or docker's manifest list.
    Index,
    /// The configuration of an image.
    Config,
    /// A layer, in whatever format.
    Layer,
    /// A statement about an image.
    Attestation,
    /// A part of a container checkpoint that is no layer.
    Checkpoint,
    /// A docker manifest of schema 1.
    Schema1,
    /// Anything else.
    Unknown,
}

/// The class of a media type.
pub fn classify(media_type: &str) -> Class {
    match media_type {
        OCI_MANIFEST | DOCKER_MANIFEST => Class::Manifest,
        OCI_INDEX | DOCKER_INDEX => Class::Index,
        OCI_CONFIG | DOCKER_CONFIG => Class::Config,
        DOCKER_LAYER | DOCKER_LAYER_GZIP | DOCKER_LAYER_ZSTD | DOCKER_FOREIGN
        | DOCKER_FOREIGN_GZIP | EROFS_LAYER => Class::Layer,
        IN_TOTO => Class::Attestation,
        "application/vnd.docker.distribution.manifest.v1+json"
        | "application/vnd.docker.distribution.manifest.v1+prettyjws" => Class::Schema1,
        _ if media_type.starts_with("application/vnd.oci.image.layer.") => Class::Layer,
        _ if media_type.starts_with("application/vnd.containerd.container.") => Class::Checkpoint,
        _ => Class::Unknown,
    }
}

/// Whether a layer of this media type is encrypted (ocicrypt).
pub fn is_encrypted(media_type: &str) -> bool {
    media_type.ends_with("+encrypted")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_of_both_families_are_known() {
        let cases = [
            (OCI_INDEX, Class::Index),
            (DOCKER_INDEX, Class::Index),
            (OCI_MANIFEST, Class::Manifest),
            (DOCKER_MANIFEST, Class::Manifest),
            (DOCKER_CONFIG, Class::Config),
            (OCI_LAYER_ZSTD, Class::Layer),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", Class::Layer),
            ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", Class::Layer),
            (DOCKER_FOREIGN_GZIP, Class::Layer),
            (EROFS_LAYER, Class::Layer),
            (IN_TOTO, Class::Attestation),
            (CRIU, Class::Checkpoint),
            ("application/vnd.docker.distribution.manifest.v1+prettyjws", Class::Schema1),
            ("application/json", Class::Unknown),
            ("", Class::Unknown),
        ];
        for (media_type, class) in cases {
            assert_eq!(classify(media_type), class, "{media_type}");
        }
        assert!(is_encrypted("application/vnd.oci.image.layer.v1.tar+encrypted"));
    }
}
