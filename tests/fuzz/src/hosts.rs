//! Any text as a registry's `hosts.toml`: refused, or servers that can be asked.

use std::path::Path;

use stratafs::content::registry::hosts;

/// Parses `data`.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for plain in [false, true] {
        let folder = Path::new("/certs.d/r.example");
        let Ok(specs) = hosts::parse("r.example:5000", plain, folder, &text) else { continue };
        assert!(!specs.is_empty(), "the registry itself is always there");
        for spec in specs {
            assert!(matches!(spec.base.scheme(), "http" | "https") && spec.base.has_host());
            assert!(spec.base.username().is_empty() && spec.base.password().is_none());
            assert!(!spec.base.path().ends_with('/') || spec.base.path() == "/");
        }
    }
}
