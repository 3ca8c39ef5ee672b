use sha2::Digest as _;

use super::{Algorithm, Digest};

/// The block size of SHA-256 in bytes (FIPS 180-4, section 1).
const BLOCK: usize = 64;

/// Hashes a stream piece by piece.
#[derive(Debug, Clone)]
pub struct Hasher(State);

#[derive(Debug, Clone)]
enum State {
    Sha256(Sha256),
    Sha512(Box<sha2::Sha512>),
}

#[derive(Debug, Clone)]
struct Sha256 {
    state: sha2::Sha256,
    /// How many bytes of a block it waits with; less than [`BLOCK`].
    waiting: usize,
}

impl Sha256 {
    fn update(&mut self, data: &[u8]) {
        self.state.update(data);
        self.waiting = (self.waiting + data.len()) % BLOCK;
    }

    /// Adds what completes the block under way, and returns the rest.
    fn complete<'a>(&mut self, data: &'a [u8]) -> &'a [u8] {
        let missing = (BLOCK - self.waiting) % BLOCK;
        let (head, rest) = data.split_at(missing.min(data.len()));
        self.update(head);
        rest
    }
}

impl Hasher {
    /// An empty hash of `algorithm`.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => State::Sha256(Sha256 { state: sha2::Sha256::new(), waiting: 0 }),
            Algorithm::Sha512 => State::Sha512(Box::new(sha2::Sha512::new())),
        })
    }

    /// Adds `data`.
    pub fn update(&mut self, data: &[u8]) {
        match &mut self.0 {
            State::Sha256(h) => h.update(data),
            State::Sha512(h) => h.update(data),
        }
    }

    /// Adds `data` to this hash and `other_data` to `other`.
    ///
    /// SHA-256 instructions wait for each other's results. A processor that looks ahead as far as the
    /// other stream's next block fills the gaps with it, which makes the shorter stream half as
    /// dear.
    pub fn update_both(&mut self, data: &[u8], other: &mut Self, other_data: &[u8]) {
        let (State::Sha256(a), State::Sha256(b)) = (&mut self.0, &mut other.0) else {
            self.update(data);
            other.update(other_data);
            return;
        };
        let (data, other_data) = (a.complete(data), b.complete(other_data));
        let (blocks, rest) = data.as_chunks::<BLOCK>();
        let (other_blocks, other_rest) = other_data.as_chunks::<BLOCK>();
        let both = blocks.len().min(other_blocks.len());
        for (block, other_block) in blocks.iter().zip(other_blocks) {
            a.state.update(block);
            b.state.update(other_block);
        }
        a.update(blocks[both..].as_flattened());
        a.update(rest);
        b.update(other_blocks[both..].as_flattened());
        b.update(other_rest);
    }

    /// The digest of all that was added.
    pub fn finish(self) -> Digest {
        match self.0 {
            State::Sha256(h) => {
                Digest { algorithm: Algorithm::Sha256, bytes: h.state.finalize().as_slice().into() }
            }
            State::Sha512(h) => {
                Digest { algorithm: Algorithm::Sha512, bytes: h.finalize().as_slice().into() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pieces() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
        let piece = || prop::collection::vec(any::<u8>(), 0..300);
        prop::collection::vec((piece(), piece()), 0..8)
    }

    proptest! {
        #[test]
        fn two_streams_at_once_hash_as_two_alone(pieces in pieces(), one: bool, other: bool) {
            let of = |long| if long { Algorithm::Sha512 } else { Algorithm::Sha256 };
            let (mut a, mut b) = (Hasher::new(of(one)), Hasher::new(of(other)));
            let (mut whole_a, mut whole_b) = (Vec::new(), Vec::new());
            for (for_a, for_b) in pieces {
                a.update_both(&for_a, &mut b, &for_b);
                whole_a.extend(for_a);
                whole_b.extend(for_b);
            }
            let alone = |long, bytes: &[u8]| {
                let mut hasher = Hasher::new(of(long));
                hasher.update(bytes);
                hasher.finish()
            };
            prop_assert_eq!(a.finish(), alone(one, &whole_a));
            prop_assert_eq!(b.finish(), alone(other, &whole_b));
        }
    }
}
