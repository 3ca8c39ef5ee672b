//! What containerd gives every container (its `oci/spec.go` and `oci/mounts.go`).

use serde_json::{Value, json};

/// Capabilities of a container's process.
const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// The `PATH` of a process whose image sets none.
pub(super) const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `process.capabilities`.
pub(super) fn capabilities() -> Value {
    json!({
        "bounding": CAPABILITIES,
        "effective": CAPABILITIES,
        "permitted": CAPABILITIES,
    })
}

fn mount(destination: &str, fs_type: &str, source: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": fs_type, "source": source, "options": options})
}

/// `mounts`.
pub(super) fn mounts() -> Vec<Value> {
    vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        ),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/run", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ]
}

/// Files of the machine that a container on the machine's network needs to resolve names.
pub(super) fn network_mounts() -> Vec<Value> {
    ["/etc/resolv.conf", "/etc/hosts"]
        .map(|path| mount(path, "bind", path, &["rbind", "ro"]))
        .to_vec()
}

/// `linux`, with a network namespace of its own unless `net_host`.
pub(super) fn linux(net_host: bool) -> Value {
    let mut namespaces = vec!["pid", "ipc", "uts", "mount"];
    if !net_host {
        namespaces.push("network");
    }
    let namespaces: Vec<Value> = namespaces.into_iter().map(|n| json!({"type": n})).collect();
    json!({
        "namespaces": namespaces,
        "maskedPaths": [
            "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
            "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware",
            "/proc/scsi",
        ],
        "readonlyPaths": [
            "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
        ],
    })
}
