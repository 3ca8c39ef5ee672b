//! The registry that Debian has, filled by skopeo.
