use crate::image::Config;

use super::{User, UserError, resolve_user};

/// How the process of a container runs: what the image says, as changed by the user.
#[derive(Debug, Clone, Default)]
pub struct Process {
    /// The command and its arguments.
    pub args: Vec<String>,
    /// Environment, `NAME=VALUE`; a later entry replaces an earlier one of the same name.
    pub env: Vec<String>,
    /// The folder it starts in; empty means `/`.
    pub cwd: String,
    /// The ids it runs with.
    pub user: User,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Whether the rootfs is read-only.
    pub read_only: bool,
    /// Whether it shares the machine's network.
    pub net_host: bool,
    /// The host name, where it has namespaces of its own.
    pub hostname: String,
}

/// What a user wants otherwise than the image says.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// The command instead of the image's `Cmd`; the image's `Entrypoint` stays in front of it.
    pub command: Vec<String>,
    /// More environment.
    pub env: Vec<String>,
    /// The user instead of the image's.
    pub user: Option<String>,
    /// The folder instead of the image's.
    pub cwd: Option<String>,
}

impl Process {
    /// What `config` says, with `overrides`. `passwd` and `group` are the texts of the image's own
    /// files, empty where it has none.
    ///
    /// # Errors
    ///
    /// [`UserError`].
    pub fn of_image(
        config: &Config,
        overrides: &Overrides,
        passwd: &str,
        group: &str,
    ) -> Result<Self, UserError> {
        let image = &config.config;
        let command = if overrides.command.is_empty() { &image.cmd } else { &overrides.command };
        let user = overrides.user.as_ref().unwrap_or(&image.user);
        Ok(Self {
            args: [image.entrypoint.as_slice(), command].concat(),
            env: [image.env.as_slice(), &overrides.env].concat(),
            cwd: overrides.cwd.clone().unwrap_or_else(|| image.working_dir.clone()),
            user: resolve_user(user, passwd, group)?,
            ..Self::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let mut config = Config::default();
        config.config.entrypoint = vec!["/entry".into()];
        config.config.cmd = vec!["default".into()];
        config.config.env = vec!["A=1".into()];
        config.config.user = "7".into();
        config
    }

    #[test]
    fn the_command_replaces_cmd_and_not_the_entrypoint() {
        let none = Overrides::default();
        let process = Process::of_image(&config(), &none, "", "").unwrap();
        assert_eq!(process.args, ["/entry", "default"]);
        assert_eq!(process.user.uid, 7);
        let overrides = Overrides { command: vec!["x".into()], env: vec!["A=2".into()], ..none };
        let process = Process::of_image(&config(), &overrides, "", "").unwrap();
        assert_eq!(process.args, ["/entry", "x"]);
        assert_eq!(process.env, ["A=1", "A=2"]);
    }
}
