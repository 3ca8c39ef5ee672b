use super::bad;
use crate::snapshot::{Error, Mount};
use crate::sys::mount::Attributes;

/// The options of a mount, sorted by who takes them.
#[derive(Debug)]
pub(super) struct Parsed<'a> {
    pub(super) attributes: Attributes,
    pub(super) recursive: bool,
    /// The others, each with its value if it has one.
    pub(super) rest: Vec<(&'a str, Option<&'a str>)>,
}

impl<'a> Parsed<'a> {
    pub(super) fn of(mount: &'a Mount) -> Result<Self, Error> {
        let mut parsed =
            Self { attributes: Attributes::empty(), recursive: false, rest: Vec::new() };
        for option in &mount.options {
            parsed.add(option).map_err(|problem| bad(&mount.fs_type, problem))?;
        }
        Ok(parsed)
    }

    fn add(&mut self, option: &'a str) -> Result<(), &'static str> {
        let (attribute, on) = match option {
            "ro" => (Attributes::MOUNT_ATTR_RDONLY, true),
            "rw" => (Attributes::MOUNT_ATTR_RDONLY, false),
            "nosuid" => (Attributes::MOUNT_ATTR_NOSUID, true),
            "suid" => (Attributes::MOUNT_ATTR_NOSUID, false),
            "nodev" => (Attributes::MOUNT_ATTR_NODEV, true),
            "dev" => (Attributes::MOUNT_ATTR_NODEV, false),
            "noexec" => (Attributes::MOUNT_ATTR_NOEXEC, true),
            "exec" => (Attributes::MOUNT_ATTR_NOEXEC, false),
            "noatime" => (Attributes::MOUNT_ATTR_NOATIME, true),
            "nodiratime" => (Attributes::MOUNT_ATTR_NODIRATIME, true),
            "rbind" => {
                self.recursive = true;
                return Ok(());
            }
            "bind" | "defaults" | "async" | "atime" | "relatime" => return Ok(()),
            "loop" | "remount" => return Err("loop devices and remounts are not offered"),
            other => {
                self.rest.push(match other.split_once('=') {
                    Some((key, value)) => (key, Some(value)),
                    None => (other, None),
                });
                return Ok(());
            }
        };
        self.attributes.set(attribute, on);
        Ok(())
    }
}

/// Splits the value of an option at each `separator` that has no backslash before it, and takes the
/// backslashes away.
pub(super) fn split(value: &str, separator: Option<char>) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            '\\' => chars.next().unwrap_or('\\'),
            c if Some(c) == separator => {
                parts.push(String::new());
                continue;
            }
            c => c,
        };
        if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts
}
