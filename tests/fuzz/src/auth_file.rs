//! Any bytes as a file of credentials: refused, or asked for registries without a secret in an error.

use stratafs::content::registry::auth_file::{AuthFile, Kept};

/// Parses `data`.
pub fn run(data: &[u8]) {
    let Ok(file) = AuthFile::parse(data) else { return };
    for host in ["docker.io", "r.example", "r.example:5000", "localhost", ""] {
        for repository in ["library/debian", "team/app", "app", "", "/", "a//b"] {
            if let Ok(Some(Kept::Helper { name, .. })) = file.find(host, repository) {
                assert!(!name.is_empty() && !name.contains('/'));
            }
        }
    }
}
