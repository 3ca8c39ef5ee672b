use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{Any, MessageError};

/// The runtime specification of a container (OCI runtime specification, `config.md`).
#[derive(Debug, Clone, PartialEq)]
pub struct Spec(Map<String, Value>);

/// Why bytes are no specification to run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// It is neither JSON nor a message that holds some.
    #[error("it is no JSON and no message that holds some: {0}")]
    Message(#[from] MessageError),
    /// It is no JSON.
    #[error("it is no JSON: {0}")]
    Json(String),
    /// It is no JSON object.
    #[error("it is no JSON object")]
    NotAnObject,
    /// It says nothing about what to run.
    #[error("it does not say what to run: process.args is no list of texts")]
    NoProcess,
}

/// Something of a specification that belongs to the machine it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeftOut {
    /// Programs of the machine that the runtime is to run.
    Hooks,
    /// A file or folder of the machine that is not here, by where it was mounted and its source.
    Mount {
        /// Where in the container it was mounted.
        destination: String,
        /// What was mounted.
        source: String,
    },
    /// As [`LeftOut::Mount`], with a new file or folder in its place.
    Replaced {
        /// Where in the container it was mounted.
        destination: String,
        /// What was mounted.
        source: String,
    },
    /// A namespace that the container joined, which is not here; it gets one of its own.
    Namespace {
        /// The type of the namespace.
        kind: String,
        /// Where it was.
        path: String,
    },
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LeftOut::Hooks => f.write_str("hooks of the machine that it was made on"),
            LeftOut::Mount { destination, source } => {
                write!(f, "the mount on {destination}: {source} is not on this machine")
            }
            LeftOut::Replaced { destination, source } => write!(
                f,
                "what was mounted on {destination}: {source} is not on this machine, and a new one \
                 stands in"
            ),
            LeftOut::Namespace { kind, path } => {
                write!(f, "the {kind} namespace {path}, which is not on this machine")
            }
        }
    }
}

impl Spec {
    /// Decodes a specification: JSON, or an [`Any`] that holds some, as containerd writes it.
    ///
    /// # Errors
    ///
    /// See [`SpecError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, SpecError> {
        // A message begins with the key of a field, which is never a brace or white space.
        match bytes.trim_ascii_start().first() {
            Some(b'{' | b'[' | b'"') => Self::parse(bytes),
            _ => Self::parse(&Any::parse(bytes)?.value),
        }
    }

    fn parse(json: &[u8]) -> Result<Self, SpecError> {
        let value: Value =
            serde_json::from_slice(json).map_err(|e| SpecError::Json(e.to_string()))?;
        Self::new(value)
    }

    /// The specification that `value` is.
    ///
    /// # Errors
    ///
    /// [`SpecError::NotAnObject`], [`SpecError::NoProcess`].
    pub fn new(value: Value) -> Result<Self, SpecError> {
        let Value::Object(spec) = value else { return Err(SpecError::NotAnObject) };
        let spec = Self(spec);
        let args = spec.0.get("process").and_then(|p| p.get("args")).and_then(Value::as_array);
        match args {
            Some(args) if !args.is_empty() && args.iter().all(Value::is_string) => Ok(spec),
            _ => Err(SpecError::NoProcess),
        }
    }

    /// The command that the container runs.
    pub fn args(&self) -> Vec<String> {
        let args = self.0.get("process").and_then(|p| p.get("args")).and_then(Value::as_array);
        args.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Whether its process has a terminal.
    pub fn terminal(&self) -> bool {
        let terminal = self.0.get("process").and_then(|p| p.get("terminal"));
        terminal.and_then(Value::as_bool).unwrap_or(false)
    }

    /// The name of the container's machine, where it says one.
    pub fn hostname(&self) -> Option<&str> {
        self.0.get("hostname").and_then(Value::as_str)
    }

    /// Whether the container gets a network of its own, which is new and empty.
    pub fn makes_network(&self) -> bool {
        let namespaces = self.0.get("linux").and_then(|linux| linux.get("namespaces"));
        let mut namespaces = namespaces.and_then(Value::as_array).into_iter().flatten();
        let text = |n: &Value, key: &str| n.get(key).and_then(Value::as_str).map(str::to_owned);
        namespaces.any(|n| {
            text(n, "type").as_deref() == Some("network")
                && text(n, "path").is_none_or(|path| path.is_empty())
        })
    }

    /// The bind mounts whose source `exists` says is not here, each by where it is mounted and its
    /// source.
    pub fn missing_mounts(&self, exists: &dyn Fn(&Path) -> bool) -> Vec<(String, String)> {
        let mounts = self.0.get("mounts").and_then(Value::as_array).into_iter().flatten();
        mounts.filter_map(|mount| missing_source(mount, exists)).collect()
    }

    /// It with other sources for bind mounts, by where they are mounted.
    #[must_use]
    pub fn with_sources(&self, sources: &BTreeMap<String, PathBuf>) -> Self {
        let mut spec = self.0.clone();
        if let Some(Value::Array(mounts)) = spec.get_mut("mounts") {
            for mount in mounts.iter_mut().filter_map(Value::as_object_mut) {
                let at = mount.get("destination").and_then(Value::as_str);
                if let Some(source) = at.and_then(|at| sources.get(at)) {
                    mount.insert("source".into(), json!(source));
                }
            }
        }
        Self(spec)
    }

    /// It with its processes in the cgroup `path`, or in one that the runtime names.
    #[must_use]
    pub fn with_cgroup(&self, path: Option<&str>) -> Self {
        let mut spec = self.0.clone();
        let linux = spec.entry("linux").or_insert_with(|| json!({}));
        if let Value::Object(linux) = linux {
            match path {
                Some(path) => linux.insert("cgroupsPath".into(), json!(path)),
                None => linux.remove("cgroupsPath"),
            };
        }
        Self(spec)
    }

    /// It for a bundle in another folder, whose root filesystem is `root` and where `hook`, a program
    /// and its arguments, runs on this machine once the container's namespaces are there and before
    /// anything goes on in them.
    #[must_use]
    pub fn with_hook(&self, root: &Path, hook: &[String]) -> Self {
        let mut spec = self.0.clone();
        if let Some(Value::Object(place)) = spec.get_mut("root") {
            place.insert("path".into(), json!(root));
        }
        let hook = json!({"path": hook.first(), "args": hook});
        spec.insert("hooks".into(), json!({"createRuntime": [hook]}));
        Self(spec)
    }

    /// It as JSON.
    pub fn to_json(&self) -> Value {
        Value::Object(self.0.clone())
    }

    /// The specification for a bundle on this machine, and what had to be left out. Its root is the
    /// folder `rootfs` of the bundle and its cgroup the runtime's own; of what the machine it comes
    /// from gave it, that stays which `exists` says is here. Hooks never do: they are programs of
    /// another machine. Shared memory, which engines keep outside of the container, is new.
    #[must_use]
    pub fn adapt(&self, exists: &dyn Fn(&Path) -> bool) -> (Self, Vec<LeftOut>) {
        let mut spec = self.0.clone();
        let mut left_out = Vec::new();
        let readonly = spec.get("root").and_then(|root| root.get("readonly"));
        let readonly = readonly.and_then(Value::as_bool).unwrap_or(false);
        spec.insert("root".into(), json!({"path": "rootfs", "readonly": readonly}));
        if let Some(hooks) = spec.remove("hooks")
            && hooks.as_object().is_some_and(|hooks| !hooks.is_empty())
        {
            left_out.push(LeftOut::Hooks);
        }
        if let Some(Value::Array(mounts)) = spec.get_mut("mounts") {
            mounts.retain_mut(|mount| match missing_source(mount, exists) {
                Some((destination, _)) if destination == SHARED_MEMORY => {
                    *mount = shared_memory();
                    true
                }
                Some((destination, source)) => {
                    left_out.push(LeftOut::Mount { destination, source });
                    false
                }
                None => true,
            });
        }
        if let Some(Value::Object(linux)) = spec.get_mut("linux") {
            linux.remove("cgroupsPath");
            if let Some(Value::Array(namespaces)) = linux.get_mut("namespaces") {
                left_out.extend(namespaces.iter_mut().filter_map(|n| leave_missing(n, exists)));
            }
        }
        (Self(spec), left_out)
    }
}

/// Where shared memory is mounted.
pub(super) const SHARED_MEMORY: &str = "/dev/shm";

/// Shared memory of the container's own, as runtimes make it.
fn shared_memory() -> Value {
    json!({
        "destination": SHARED_MEMORY, "type": "tmpfs", "source": "shm",
        "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
    })
}

/// Where a bind mount whose source is not there is mounted, and its source.
fn missing_source(mount: &Value, exists: &dyn Fn(&Path) -> bool) -> Option<(String, String)> {
    let text = |key: &str| mount.get(key).and_then(Value::as_str);
    let options = mount.get("options").and_then(Value::as_array).into_iter().flatten();
    let binds = text("type") == Some("bind")
        || options.filter_map(Value::as_str).any(|o| o == "bind" || o == "rbind");
    let source = text("source").filter(|source| binds && !exists(Path::new(source)))?;
    let destination = text("destination").unwrap_or_default().to_owned();
    Some((destination, source.to_owned()))
}

/// Makes a namespace that was joined and is not there a new one.
fn leave_missing(namespace: &mut Value, exists: &dyn Fn(&Path) -> bool) -> Option<LeftOut> {
    let namespace = namespace.as_object_mut()?;
    let path = namespace.get("path").and_then(Value::as_str)?.to_owned();
    if !path.is_empty() && exists(Path::new(&path)) {
        return None;
    }
    namespace.remove("path");
    let kind = namespace.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    (!path.is_empty()).then_some(LeftOut::Namespace { kind, path })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::SPEC_TYPE;

    const SPEC: &str = r#"{"process":{"args":["sh","-c","x"]},"root":{"path":"/var/x/merged"}}"#;

    #[test]
    fn json_alone_and_in_a_message_are_the_same() {
        let any = Any { type_url: SPEC_TYPE.into(), value: SPEC.into() };
        let old = Any { type_url: "1.0.0-rc5".into(), value: SPEC.into() };
        let plain = Spec::decode(SPEC.as_bytes()).unwrap();
        assert_eq!(plain.args(), ["sh", "-c", "x"]);
        assert_eq!(Spec::decode(&any.encode()).unwrap(), plain);
        assert_eq!(Spec::decode(&old.encode()).unwrap(), plain);
    }

    #[test]
    fn what_is_no_specification_is_refused() {
        assert!(matches!(Spec::decode(b"\x0a\x40short"), Err(SpecError::Message(_))));
        assert!(matches!(Spec::decode(b"{"), Err(SpecError::Json(_))));
        assert!(matches!(Spec::decode(b""), Err(SpecError::Json(_))));
        assert_eq!(Spec::decode(b"[]"), Err(SpecError::NotAnObject));
        for bad in ["{}", r#"{"process":{"args":[]}}"#, r#"{"process":{"args":[1]}}"#] {
            assert_eq!(Spec::decode(bad.as_bytes()), Err(SpecError::NoProcess), "{bad}");
        }
        let deep = "[".repeat(100_000);
        assert!(matches!(Spec::decode(deep.as_bytes()), Err(SpecError::Json(_))));
    }

    #[test]
    fn what_belongs_to_another_machine_is_left_out_and_named() {
        let spec = json!({
            "process": {"args": ["x"]},
            "root": {"path": "/elsewhere", "readonly": true},
            "hooks": {"prestart": [{"path": "/bin/evil"}]},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/a", "type": "bind", "source": "/here"},
                {"destination": "/b", "type": "bind", "source": "/gone"},
                {"destination": "/c", "type": "none", "source": "/gone", "options": ["rbind"]},
            ],
            "linux": {
                "cgroupsPath": "machine.slice:x:y",
                "namespaces": [
                    {"type": "pid"}, {"type": "network", "path": "/gone"},
                    {"type": "ipc", "path": "/here"},
                ],
            },
        });
        let here = |path: &Path| path == Path::new("/here");
        let (adapted, left_out) = Spec::new(spec).unwrap().adapt(&here);
        let json = adapted.to_json();
        assert_eq!(json["root"], json!({"path": "rootfs", "readonly": true}));
        assert!(json.get("hooks").is_none() && json["linux"].get("cgroupsPath").is_none());
        assert_eq!(json["mounts"].as_array().unwrap().len(), 2);
        let namespaces = json!([
            {"type": "pid"}, {"type": "network"}, {"type": "ipc", "path": "/here"}
        ]);
        assert_eq!(json["linux"]["namespaces"], namespaces);
        let texts: Vec<String> = left_out.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 4, "{texts:?}");
        assert!(texts[1].contains("/gone is not on this machine"), "{texts:?}");
    }

    #[test]
    fn shared_memory_that_is_not_here_is_made_anew() {
        let mount = |destination: &str| json!({"destination": destination, "type": "bind", "source": "/gone"});
        let spec = json!({
            "process": {"args": ["x"]}, "mounts": [mount("/dev/shm"), mount("/etc/hosts")],
        });
        let spec = Spec::new(spec).unwrap();
        let nothing = |_: &Path| false;
        let missing = spec.missing_mounts(&nothing);
        let at = |destination: &str| (destination.to_owned(), "/gone".to_owned());
        assert_eq!(missing, [at("/dev/shm"), at("/etc/hosts")]);
        let (adapted, left_out) = spec.adapt(&nothing);
        let mounts = adapted.to_json()["mounts"].clone();
        assert_eq!(
            (mounts[0]["type"].as_str(), mounts.as_array().unwrap().len()),
            (Some("tmpfs"), 1)
        );
        assert!(
            matches!(&left_out[..], [LeftOut::Mount { destination, .. }] if destination == "/etc/hosts")
        );
        let stand_ins = BTreeMap::from([("/etc/hosts".to_owned(), PathBuf::from("/new"))]);
        assert_eq!(spec.with_sources(&stand_ins).missing_mounts(&nothing)[1].1, "/new");
    }

    #[test]
    fn a_network_is_new_where_none_is_joined() {
        let spec = |namespaces: Value| {
            let spec = json!({"process": {"args": ["x"]}, "linux": {"namespaces": namespaces}});
            Spec::new(spec).unwrap()
        };
        assert!(spec(json!([{"type": "pid"}, {"type": "network"}])).makes_network());
        assert!(spec(json!([{"type": "network", "path": ""}])).makes_network());
        assert!(!spec(json!([{"type": "network", "path": "/here"}])).makes_network());
        assert!(!spec(json!([{"type": "pid"}])).makes_network());
        assert!(!spec(json!(null)).makes_network());
    }

    #[test]
    fn a_cgroup_is_named_and_forgotten() {
        let plain = Spec::decode(SPEC.as_bytes()).unwrap();
        let named = plain.with_cgroup(Some("/one"));
        assert_eq!(named.to_json()["linux"]["cgroupsPath"], "/one");
        assert_eq!(named.with_cgroup(Some("/two")).with_cgroup(None), plain.with_cgroup(None));
    }

    #[test]
    fn a_hook_runs_before_it_goes_on_and_the_root_is_where_it_was() {
        let (spec, _) = Spec::decode(SPEC.as_bytes()).unwrap().adapt(&|_| true);
        let hook = ["/bin/program".to_owned(), "verb".to_owned()];
        let json = spec.with_hook(Path::new("/at/rootfs"), &hook).to_json();
        assert_eq!(json["root"], json!({"path": "/at/rootfs", "readonly": false}));
        let expected = json!([{"path": "/bin/program", "args": ["/bin/program", "verb"]}]);
        assert_eq!(json["hooks"]["createRuntime"], expected);
    }
}
