use crate::error::{Classify, Kind};

/// The ids that a process runs with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids, without the primary one, sorted.
    pub additional_gids: Vec<u32>,
    /// The home folder, where `passwd` has one.
    pub home: Option<String>,
}

/// Why a user could not be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// `passwd` has no such user name.
    #[error("user {0:?} is not in the image's /etc/passwd")]
    UnknownUser(String),
    /// `group` has no such group name.
    #[error("group {0:?} is not in the image's /etc/group")]
    UnknownGroup(String),
}

impl Classify for UserError {
    fn kind(&self) -> Kind {
        Kind::NotFound
    }
}

/// A line of `passwd` (passwd(5)): name, uid, gid, home.
fn passwd_entries(text: &str) -> impl Iterator<Item = (&str, u32, u32, &str)> {
    text.lines().filter_map(|line| {
        let mut f = line.split(':');
        let name = f.next()?;
        let uid = f.nth(1)?.parse().ok()?;
        let gid = f.next()?.parse().ok()?;
        Some((name, uid, gid, f.nth(1).unwrap_or("")))
    })
}

/// A line of `group` (group(5)): name, gid, members.
fn group_entries(text: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    text.lines().filter_map(|line| {
        let mut f = line.split(':');
        let name = f.next()?;
        let gid = f.nth(1)?.parse().ok()?;
        Some((name, gid, f.next().unwrap_or("")))
    })
}

/// The user that `spec` names: `user`, `uid`, `user:group`, `uid:gid`, in any mixture (OCI image
/// specification, `config.md`, "User"); an empty `spec` is root.
///
/// Groups that list the user are supplementary only where `spec` names no group.
///
/// # Errors
///
/// [`UserError`] for a name that is not in the files; a bare number needs no entry.
pub fn resolve_user(spec: &str, passwd: &str, group: &str) -> Result<User, UserError> {
    let (user, wanted_group) = match spec.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (spec, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let number = user.parse::<u32>().ok();
    let entry = passwd_entries(passwd)
        .find(|(name, uid, ..)| *name == user || number.is_some_and(|n| n == *uid));
    let (name, uid, gid, home) = match (entry, number) {
        (Some((name, uid, gid, home)), _) => (Some(name), uid, gid, Some(home.to_owned())),
        (None, Some(uid)) => (None, uid, 0, None),
        (None, None) => return Err(UserError::UnknownUser(user.to_owned())),
    };
    let home = home.filter(|h| !h.is_empty());
    if let Some(wanted) = wanted_group {
        let gid = resolve_group(wanted, group)?;
        return Ok(User { uid, gid, additional_gids: Vec::new(), home });
    }
    let mut additional_gids: Vec<u32> = group_entries(group)
        .filter(|(_, id, members)| {
            *id != gid && name.is_some_and(|name| members.split(',').any(|m| m == name))
        })
        .map(|(_, id, _)| id)
        .collect();
    additional_gids.sort_unstable();
    additional_gids.dedup();
    Ok(User { uid, gid, additional_gids, home })
}

fn resolve_group(wanted: &str, group: &str) -> Result<u32, UserError> {
    if let Some((_, gid, _)) = group_entries(group).find(|(name, ..)| *name == wanted) {
        return Ok(gid);
    }
    wanted.parse().map_err(|_| UserError::UnknownGroup(wanted.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/var/www:\nbroken\n";
    const GROUP: &str = "root:x:0:\nweb:x:33:\nadm:x:4:syslog,web\nssl:x:101:web\n";

    #[test]
    fn an_empty_user_is_root() {
        let user = resolve_user("", PASSWD, GROUP).unwrap();
        assert_eq!((user.uid, user.gid, user.home.as_deref()), (0, 0, Some("/root")));
        assert_eq!(resolve_user("", "", "").unwrap(), User::default());
    }

    #[test]
    fn a_named_user_brings_its_groups() {
        let user = resolve_user("web", PASSWD, GROUP).unwrap();
        assert_eq!((user.uid, user.gid), (33, 33));
        assert_eq!(user.additional_gids, [4, 101]);
        assert_eq!(resolve_user("33", PASSWD, GROUP).unwrap(), user);
    }

    #[test]
    fn a_named_group_replaces_them() {
        let user = resolve_user("web:adm", PASSWD, GROUP).unwrap();
        assert_eq!((user.uid, user.gid, user.additional_gids.len()), (33, 4, 0));
        assert_eq!(resolve_user("7:8", PASSWD, GROUP).unwrap().gid, 8);
    }

    #[test]
    fn unknown_names_are_errors() {
        assert!(matches!(resolve_user("x", PASSWD, GROUP), Err(UserError::UnknownUser(_))));
        assert!(matches!(resolve_user("0:x", PASSWD, GROUP), Err(UserError::UnknownGroup(_))));
    }
}
