//! Network interfaces of other namespaces.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Brings up the loopback interface, which gets its addresses by that, in the network namespace of
/// the process `pid` (setns(2), netdevice(7)).
///
/// # Errors
///
/// `NotFound` where there is no such process; `PermissionDenied` without the rights for it.
pub fn raise_loopback(pid: u32) -> io::Result<()> {
    let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
    // A thread of its own, so that no other work of this process is done in that namespace.
    let thread = std::thread::Builder::new().name("loopback".into()).spawn(move || {
        use std::os::fd::AsFd as _;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        raise(c"lo")
    })?;
    thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
}

/// Brings up the interface `name` of this thread's namespace.
fn raise(name: &std::ffi::CStr) -> io::Result<()> {
    // SAFETY: the call takes numbers only.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just opened, and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: all zeros is a valid value of this plain C struct.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero.
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name[..room].iter_mut().zip(name.to_bytes()) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    let call = |number, request: &mut libc::ifreq| {
        // SAFETY: both calls read and write one `ifreq`, which lives longer than they take.
        match unsafe { libc::ioctl(socket.as_raw_fd(), number, std::ptr::from_mut(request)) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    call(libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: the kernel has just written the flags into this union.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    let up = libc::c_short::try_from(libc::IFF_UP).unwrap_or_default();
    request.ifr_ifru.ifru_flags = flags | up;
    call(libc::SIOCSIFFLAGS, &mut request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn the_loopback_interface_of_a_new_namespace_comes_up() {
        // `cat` ends once its input does.
        let mut child = Command::new("unshare")
            .args(["--net", "sh", "-c", "cat /sys/class/net/lo/operstate; cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let theirs = || std::fs::read_link(format!("/proc/{}/ns/net", child.id())).unwrap();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while theirs() == own && std::time::Instant::now() < end {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert_ne!(theirs(), own);
        let pid = child.id();
        let routes = || std::fs::read_to_string(format!("/proc/{pid}/net/fib_trie")).unwrap();
        assert!(!routes().contains("127.0.0.1"));
        raise_loopback(pid).unwrap();
        assert!(routes().contains("127.0.0.1"), "{}", routes());
        // Once more is no error, and this process is where it was.
        raise_loopback(pid).unwrap();
        assert_eq!(std::fs::read_link("/proc/self/ns/net").unwrap(), own);
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn a_process_that_is_not_there_is_not_found() {
        let error = raise_loopback(u32::MAX).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
