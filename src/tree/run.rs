//! Stretches of the sorted path lists of layers, and how the children of one folder are read off
//! many of them at once.
//!
//! A list is sorted so that all that lies below a folder is one stretch of it. Going down a tree
//! is cutting stretches into smaller ones; no path is looked up.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::layer::Toc;

/// Which list of a TOC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum List {
    /// [`Toc::names`].
    Names,
    /// [`Toc::whiteouts`].
    Whiteouts,
    /// [`Toc::opaques`].
    Opaques,
}

/// A stretch of a list: what lies strictly below one folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Run {
    /// The list.
    pub(super) list: List,
    /// The layer it is of.
    pub(super) layer: u16,
    /// The place of its first path.
    pub(super) start: u32,
    /// The place after its last path.
    pub(super) end: u32,
}

impl Run {
    /// The whole of a list.
    pub(super) fn whole(list: List, layer: u16, toc: &Toc) -> Self {
        let len = match list {
            List::Names => toc.names.len(),
            List::Whiteouts => toc.whiteouts.len(),
            List::Opaques => toc.opaques.len(),
        };
        Self { list, layer, start: 0, end: u32::try_from(len).unwrap_or(u32::MAX) }
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    /// The path at `place`.
    pub(super) fn path<'a>(&self, layers: &[&'a Toc], place: u32) -> &'a [u8] {
        let (toc, place) = (layers[usize::from(self.layer)], place as usize);
        match self.list {
            List::Names => toc.names[place].path.as_bytes(),
            List::Whiteouts => toc.whiteouts[place].as_bytes(),
            List::Opaques => toc.opaques[place].as_bytes(),
        }
    }

    /// Cuts off what the run says of its first child: of the folder's paths are `depth` bytes.
    fn cut(&self, layers: &[&Toc], depth: usize) -> (Claim, Run) {
        let path = self.path(layers, self.start);
        let name_end = component_end(path, depth);
        let exact = name_end == path.len();
        let below = self.start + u32::from(exact);
        let end = self.gallop(below, |place| {
            let other = self.path(layers, place);
            other.get(name_end) == Some(&b'/') && other[depth..name_end] == path[depth..name_end]
        });
        let claim = Claim { exact, at: self.start, below: Run { start: below, end, ..*self } };
        (claim, Run { start: end, ..*self })
    }

    /// The first place from `from` on where `inside` is false; it is true of a stretch from there.
    fn gallop(&self, from: u32, inside: impl Fn(u32) -> bool) -> u32 {
        let (mut low, mut step) = (from, 1);
        while low < self.end && inside(low) {
            // All before `low` is inside; look `step` further.
            let probe = low.saturating_add(step).min(self.end);
            if probe < self.end && inside(probe) {
                low = probe + 1;
                step = step.saturating_mul(2);
                continue;
            }
            let (mut inner, mut outer) = (low + 1, probe);
            while inner < outer {
                let middle = inner + (outer - inner) / 2;
                if inside(middle) { inner = middle + 1 } else { outer = middle }
            }
            return inner;
        }
        low
    }
}

/// What one list of one layer says of one child of a folder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim {
    /// Whether the path itself is listed, not only paths below it.
    pub(super) exact: bool,
    /// The place of the first path that is the child or lies below it.
    pub(super) at: u32,
    /// What lies below the child.
    pub(super) below: Run,
}

impl Claim {
    /// What a list says of the root.
    pub(super) fn of_root(list: List, layer: u16, toc: &Toc) -> Option<Self> {
        let first = match list {
            List::Names => toc.names.first().map(|name| &name.path),
            List::Whiteouts => toc.whiteouts.first(),
            List::Opaques => toc.opaques.first(),
        };
        let exact = first?.is_root();
        let mut below = Run::whole(list, layer, toc);
        below.start += u32::from(exact);
        Some(Self { exact, at: 0, below })
    }

    /// The list.
    pub(super) fn list(&self) -> List {
        self.below.list
    }

    /// The layer.
    pub(super) fn layer(&self) -> u16 {
        self.below.layer
    }
}

/// Where the component of `path` that starts at `depth` ends.
pub(super) fn component_end(path: &[u8], depth: usize) -> usize {
    let rest = path.get(depth..).unwrap_or_default();
    rest.iter().position(|&b| b == b'/').map_or(path.len(), |at| depth + at)
}

/// The children of one folder over all runs, in bytewise order of their names.
pub(super) struct Children<'a, 'l> {
    layers: &'l [&'a Toc],
    depth: usize,
    heads: BinaryHeap<Reverse<(&'a [u8], Run)>>,
}

impl<'a, 'l> Children<'a, 'l> {
    /// The children that `runs` speak of, in a folder whose children's names start at byte `depth`
    /// of their paths.
    pub(super) fn new(layers: &'l [&'a Toc], depth: usize, runs: &[Run]) -> Self {
        let mut children = Self { layers, depth, heads: BinaryHeap::with_capacity(runs.len()) };
        runs.iter().for_each(|run| children.push(*run));
        children
    }

    fn push(&mut self, run: Run) {
        if !run.is_empty() {
            let path = run.path(self.layers, run.start);
            let name = &path[self.depth..component_end(path, self.depth)];
            self.heads.push(Reverse((name, run)));
        }
    }

    /// The next child's name; `claims` then holds what the runs say of it, sorted by list and, in
    /// a list, bottom layer first.
    pub(super) fn next(&mut self, claims: &mut Vec<Claim>) -> Option<&'a [u8]> {
        claims.clear();
        let Reverse((name, _)) = *self.heads.peek()?;
        while let Some(Reverse((other, run))) = self.heads.peek().copied() {
            if other != name {
                break;
            }
            self.heads.pop();
            let (claim, rest) = run.cut(self.layers, self.depth);
            claims.push(claim);
            self.push(rest);
        }
        Some(name)
    }
}
