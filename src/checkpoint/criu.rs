//! What can be told from CRIU's image files (CRIU, `include/magic.h`, `images/*.proto`).
//!
//! A file is two magic numbers and then messages, each with its length before it.

use super::protobuf::{Fields, MessageError, Value};

/// The first magic number of the files that are read here.
const COMMON: u32 = 0x5456_4319;
/// The second one of `pstree.img`.
const PSTREE: u32 = 0x5027_3030;
/// The second one of `core-PID.img`.
const CORE: u32 = 0x5505_3847;
/// The most processes of one container.
const MAX_PROCESSES: usize = 1 << 16;

/// A process of a checkpointed container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its ID in the container.
    pub pid: u32,
    /// The ID of its parent, 0 for the first.
    pub parent: u32,
    /// How many threads it has.
    pub threads: usize,
    /// Its name, where its file says it.
    pub name: Option<String>,
}

/// Why a file of CRIU cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CriuError {
    /// It does not begin as such a file does.
    #[error("{0} is no file of CRIU of that name")]
    Magic(&'static str),
    /// It ends inside of a message.
    #[error("{0} is cut short")]
    Short(&'static str),
    /// A message is broken.
    #[error("{file} is broken: {source}")]
    Message {
        /// The file.
        file: &'static str,
        /// What is wrong.
        source: MessageError,
    },
    /// There are more processes than one container may have.
    #[error("there are more than {MAX_PROCESSES} processes")]
    TooMany,
}

/// The processes in `pstree.img`, parents first as CRIU writes them.
///
/// # Errors
///
/// See [`CriuError`].
pub fn process_tree(bytes: &[u8]) -> Result<Vec<Process>, CriuError> {
    let file = "pstree.img";
    let broken = |source| CriuError::Message { file, source };
    let mut processes = Vec::new();
    for message in Messages::of(file, PSTREE, bytes)? {
        if processes.len() == MAX_PROCESSES {
            return Err(CriuError::TooMany);
        }
        let mut process = Process { pid: 0, parent: 0, threads: 0, name: None };
        for field in Fields::of(message?) {
            match field.map_err(broken)? {
                (1, Value::Number(pid)) => process.pid = clamp(pid),
                (2, Value::Number(parent)) => process.parent = clamp(parent),
                (5, Value::Number(_)) => process.threads += 1,
                // Numbers may be packed: one byte at the end of each.
                (5, Value::Bytes(packed)) => {
                    process.threads += packed.iter().filter(|&b| b & 0x80 == 0).count();
                }
                _ => {}
            }
        }
        processes.push(process);
    }
    Ok(processes)
}

/// The name of the process in `core-PID.img` (`comm`, at most 15 bytes); `None` where it is the
/// file of a mere thread.
///
/// # Errors
///
/// See [`CriuError`].
pub fn process_name(bytes: &[u8]) -> Result<Option<String>, CriuError> {
    let file = "core.img";
    let broken = |source| CriuError::Message { file, source };
    let Some(message) = Messages::of(file, CORE, bytes)?.next() else { return Ok(None) };
    for field in Fields::of(message?) {
        // core_entry.tc
        let (3, Value::Bytes(task)) = field.map_err(broken)? else { continue };
        for field in Fields::of(task) {
            // task_core_entry.comm
            if let (6, Value::Bytes(comm)) = field.map_err(broken)? {
                return Ok(Some(String::from_utf8_lossy(comm).into_owned()));
            }
        }
    }
    Ok(None)
}

fn clamp(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The messages of a file.
struct Messages<'a> {
    file: &'static str,
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    fn of(file: &'static str, magic: u32, bytes: &'a [u8]) -> Result<Self, CriuError> {
        let head = [COMMON.to_le_bytes(), magic.to_le_bytes()].concat();
        let rest = bytes.strip_prefix(head.as_slice()).ok_or(CriuError::Magic(file))?;
        Ok(Self { file, rest })
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<&'a [u8], CriuError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let message = self.rest.split_first_chunk().and_then(|(len, rest)| {
            rest.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)
        });
        let Some((message, rest)) = message else {
            self.rest = &[];
            return Some(Err(CriuError::Short(self.file)));
        };
        self.rest = rest;
        Some(Ok(message))
    }
}

#[cfg(test)]
mod tests {
    use super::super::protobuf::{put_bytes, put_varint};
    use super::*;

    fn file(magic: u32, messages: &[&[u8]]) -> Vec<u8> {
        let mut bytes = [COMMON.to_le_bytes(), magic.to_le_bytes()].concat();
        for message in messages {
            bytes.extend(u32::try_from(message.len()).unwrap().to_le_bytes());
            bytes.extend_from_slice(message);
        }
        bytes
    }

    fn process(pid: u64, parent: u64, threads: &[u64]) -> Vec<u8> {
        let mut message = Vec::new();
        for (number, value) in [(1, pid), (2, parent), (3, pid), (4, pid)] {
            put_varint(&mut message, number, value);
        }
        threads.iter().for_each(|&thread| put_varint(&mut message, 5, thread));
        message
    }

    #[test]
    fn the_tree_and_the_names_of_processes_are_read() {
        let tree = file(PSTREE, &[&process(1, 0, &[1]), &process(7, 1, &[7, 8])]);
        let expected = [
            Process { pid: 1, parent: 0, threads: 1, name: None },
            Process { pid: 7, parent: 1, threads: 2, name: None },
        ];
        assert_eq!(process_tree(&tree).unwrap(), expected);
        let (mut task, mut core) = (Vec::new(), Vec::new());
        put_bytes(&mut task, 6, b"redis-server");
        put_varint(&mut core, 1, 1);
        put_bytes(&mut core, 3, &task);
        let core = file(CORE, &[&core]);
        assert_eq!(process_name(&core).unwrap().as_deref(), Some("redis-server"));
        assert_eq!(process_name(&file(CORE, &[])), Ok(None));
    }

    #[test]
    fn other_and_damaged_files_are_refused() {
        let tree = file(PSTREE, &[&process(1, 0, &[1])]);
        assert_eq!(process_tree(b""), Err(CriuError::Magic("pstree.img")));
        assert!(matches!(process_name(&tree), Err(CriuError::Magic(_))));
        assert_eq!(process_tree(&tree[..tree.len() - 1]), Err(CriuError::Short("pstree.img")));
        let broken = file(PSTREE, &[&[0x08]]);
        assert!(matches!(process_tree(&broken), Err(CriuError::Message { .. })));
    }
}
