use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use stratafs::digest::{DiffId, Digest};
use stratafs::snapshot::{
    Backend, Error, Kind, Labels, LazyLayer, OverlaySnapshotter, Snapshotter, Usage,
};

use super::super::model::{Op, perform};
use super::state::{MARKER, State};
use super::step::{Step, encode};

/// A small generator of numbers (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % end as u64).unwrap()
    }
}

/// Takes steps and says so.
pub struct Walker<'a> {
    pub snapshotter: &'a OverlaySnapshotter,
    pub backend: &'a Backend,
    pub root: &'a Path,
    /// Before each line; also of each key.
    pub prefix: String,
    pub state: State,
    pub random: Random,
    pub count: usize,
}

impl Walker<'_> {
    fn say(&self, line: &str) {
        // One write, so that lines of several threads do not mix.
        std::io::stdout().write_all(format!("\n{} {line}\n", self.prefix).as_bytes()).unwrap();
    }

    pub fn take(&mut self, step: &Step) {
        self.say(&format!("> {}", encode(step)));
        let result = self.perform(step);
        let expected = self.state.apply(step);
        let kind = result.map_err(|e| stratafs::error::Classify::kind(&e));
        self.say(&format!("< {kind:?}"));
        assert_eq!(kind, expected, "{step:?}");
    }

    fn perform(&self, step: &Step) -> Result<(), Error> {
        match step {
            Step::Call(op) => perform(self.snapshotter, op),
            Step::Write { key, marker } => {
                let mounts = self.snapshotter.mounts(key)?;
                let upper = mounts[0].options.iter().find_map(|o| o.strip_prefix("upperdir="));
                let folder = Path::new(upper.unwrap_or(&mounts[0].source));
                fs::write(folder.join("new"), marker).unwrap();
                fs::rename(folder.join("new"), folder.join(MARKER)).unwrap();
                Ok(())
            }
            Step::Lazy { name, parent, marker } => {
                let below = match parent {
                    Some(parent) => self.snapshotter.chain(parent)?,
                    None => None,
                };
                let diff_id = DiffId::new(Digest::sha256(marker.as_bytes()));
                let blob = diff_id.digest().clone();
                let mut stack: Vec<(DiffId, Digest)> = Vec::new();
                if let Some(below) = &below {
                    for chain in self.backend.chain_layers(below)? {
                        stack.push((chain.diff_id.clone(), blob.clone()));
                    }
                }
                stack.push((diff_id.clone(), blob));
                let ids: Vec<DiffId> = stack.iter().map(|(id, _)| id.clone()).collect();
                let chain = stratafs::digest::chain_ids(&ids).pop().unwrap();
                let shown = self.root.join("shown").join(chain.digest().hex());
                fs::create_dir_all(&shown).unwrap();
                fs::write(shown.join(MARKER), marker).unwrap();
                let lease = self.backend.lease(Duration::from_secs(60))?;
                lease.record(&stack)?;
                let layer = LazyLayer { chain, diff_id, usage: Usage::default() };
                self.snapshotter.commit_lazy(name, parent.as_deref(), &Labels::new(), &layer)
            }
        }
    }

    pub fn random_step(&mut self) -> Step {
        self.count += 1;
        let marker = format!("{}{}-{}", self.prefix, std::process::id(), self.count);
        let keys = |wanted: fn(Kind) -> bool| -> Vec<String> {
            let snapshots = self.state.model.0.iter().filter(|(_, s)| wanted(s.kind));
            snapshots.map(|(key, _)| key.clone()).collect()
        };
        let (all, active, committed) = (
            keys(|_| true),
            keys(|kind| kind == Kind::Active),
            keys(|kind| kind == Kind::Committed),
        );
        let new = format!("{}{}", self.prefix, self.random.below(12));
        let random = &mut self.random;
        let mut any = |keys: &[String]| match keys {
            [] => None,
            keys => Some(keys[random.below(keys.len())].clone()),
        };
        let labels = Labels::from([("count".to_owned(), self.count.to_string())]);
        let parent = any(&committed).filter(|_| !self.count.is_multiple_of(3));
        let (any_key, any_active) = (any(&all), any(&active));
        match (self.random.below(10), any_active, any_key) {
            (0, ..) => Step::Call(Op::View { key: new, parent, labels }),
            (1 | 2, Some(key), _) => Step::Write { key, marker },
            (3..=5, Some(key), _) => {
                Step::Call(Op::Commit { name: new, key, parent: None, labels })
            }
            (6, _, Some(key)) => Step::Call(Op::Update { key, labels, paths: vec![] }),
            (7, _, Some(key)) => Step::Call(Op::Remove { key }),
            (8, ..) => {
                let lazy = |name: &String| self.snapshotter.chain(name).unwrap().is_some();
                Step::Lazy { name: new, parent: parent.filter(lazy), marker }
            }
            _ if self.count.is_multiple_of(40) => Step::Call(Op::Cleanup),
            _ => Step::Call(Op::Prepare { key: new, parent, labels }),
        }
    }
}
