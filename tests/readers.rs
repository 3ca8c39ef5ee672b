//! Layers whose bytes come late, never, or not at all.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use stratafs::io::ReadAt;

/// Bytes that are never at hand at once: each read takes a while.
pub struct Slow {
    pub data: Vec<u8>,
    pub delay: Duration,
}

impl ReadAt for Slow {
    fn size(&self) -> u64 {
        self.data.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        std::thread::sleep(self.delay);
        self.data.read_at(buf, offset)
    }
}

/// A source that hangs for as long as its gate is shut.
pub struct Gated {
    pub data: Vec<u8>,
    pub gate: Gate,
}

/// Shut at first.
#[derive(Clone, Default)]
pub struct Gate {
    open: Arc<AtomicBool>,
    waiting: Arc<AtomicU64>,
}

impl Gate {
    pub fn open(&self) {
        self.open.store(true, Ordering::SeqCst);
    }

    /// How many reads are waiting.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::SeqCst)
    }

    fn pass(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        while !self.open.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl ReadAt for Gated {
    fn size(&self) -> u64 {
        self.data.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.gate.pass();
        self.data.read_at(buf, offset)
    }
}

/// A source that fails while told to, at once or after a wait.
pub struct Failing {
    pub data: Vec<u8>,
    pub fails: Arc<AtomicBool>,
    pub at_once: bool,
}

impl Failing {
    fn check(&self) -> io::Result<()> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, "the source is gone"));
        }
        Ok(())
    }
}

impl ReadAt for Failing {
    fn size(&self) -> u64 {
        self.data.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.check()?;
        self.data.read_at(buf, offset)
    }

    fn try_read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<Option<usize>> {
        if !self.at_once {
            return Ok(None);
        }
        self.read_at(buf, offset).map(Some)
    }
}

/// A source that panics.
pub struct Panicking {
    pub size: u64,
    pub at_once: bool,
}

impl ReadAt for Panicking {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
        panic!("this source panics, as the test wants");
    }

    fn try_read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<Option<usize>> {
        if self.at_once { self.read_at(buf, offset).map(Some) } else { Ok(None) }
    }
}
