use serde_json::{Value, json};

use crate::error::{Classify, Kind};

use super::{Process, defaults};

/// Why there is no runtime configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Neither the image nor the user says what to run.
    #[error("the image has no command of its own and none was given")]
    NoCommand,
    /// An environment entry has no `=`.
    #[error("environment entry {0:?} is not NAME=VALUE")]
    BadEnv(String),
}

impl Classify for SpecError {
    fn kind(&self) -> Kind {
        Kind::InvalidArgument
    }
}

/// The `config.json` of a bundle whose rootfs is the folder `rootfs` beside it (OCI runtime
/// specification 1.0).
///
/// # Errors
///
/// See [`SpecError`].
pub fn runtime_spec(process: &Process) -> Result<Value, SpecError> {
    if process.args.is_empty() {
        return Err(SpecError::NoCommand);
    }
    let cwd = if process.cwd.is_empty() { "/" } else { &process.cwd };
    let mut mounts = defaults::mounts();
    if process.net_host {
        mounts.extend(defaults::network_mounts());
    }
    Ok(json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": process.terminal,
            "user": {
                "uid": process.user.uid,
                "gid": process.user.gid,
                "additionalGids": process.user.additional_gids,
            },
            "args": process.args,
            "env": environment(process)?,
            "cwd": cwd,
            "capabilities": defaults::capabilities(),
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": process.read_only},
        "hostname": process.hostname,
        "mounts": mounts,
        "linux": defaults::linux(process.net_host),
    }))
}

/// The environment with each name once, in the order of first mention, `PATH`, `HOME` and `TERM`
/// filled in.
fn environment(process: &Process) -> Result<Vec<String>, SpecError> {
    let mut env: Vec<String> = vec![defaults::PATH.to_owned()];
    if let Some(home) = &process.user.home {
        env.push(format!("HOME={home}"));
    }
    if process.terminal {
        env.push("TERM=xterm".to_owned());
    }
    for entry in &process.env {
        let Some((name, _)) = entry.split_once('=') else {
            return Err(SpecError::BadEnv(entry.clone()));
        };
        let same = |e: &&mut String| e.split_once('=').is_some_and(|(n, _)| n == name);
        match env.iter_mut().find(same) {
            Some(old) => old.clone_from(entry),
            None => env.push(entry.clone()),
        }
    }
    Ok(env)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process() -> Process {
        Process { args: vec!["sh".into()], ..Process::default() }
    }

    #[test]
    fn the_users_environment_replaces_the_defaults() {
        let env = environment(&Process {
            env: vec!["A=1".into(), "PATH=/x".into(), "A=2".into()],
            ..process()
        });
        assert_eq!(env.unwrap(), ["PATH=/x", "A=2"]);
    }

    #[test]
    fn nothing_to_run_is_an_error() {
        assert_eq!(runtime_spec(&Process::default()), Err(SpecError::NoCommand));
    }

    #[test]
    fn a_container_has_its_own_network_unless_told_otherwise() {
        let has_net = |p: &Process| {
            let spec = runtime_spec(p).unwrap();
            let list = spec["linux"]["namespaces"].as_array().unwrap().clone();
            list.iter().any(|n| n["type"] == "network")
        };
        assert!(has_net(&process()));
        assert!(!has_net(&Process { net_host: true, ..process() }));
    }

    #[test]
    fn the_spec_is_one_that_the_specification_knows() {
        let spec = runtime_spec(&process()).unwrap();
        let parsed: oci_spec::runtime::Spec = serde_json::from_value(spec).unwrap();
        assert_eq!(parsed.process().as_ref().unwrap().cwd().to_str(), Some("/"));
    }
}
