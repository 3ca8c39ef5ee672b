//! What a child does, and how it says so.

use stratafs::snapshot::Labels;

use super::super::model::Op;

/// A step of a child.
#[derive(Debug, Clone)]
pub enum Step {
    Call(Op),
    /// Writes the marker of an active snapshot.
    Write {
        key: String,
        marker: String,
    },
    /// Commits a lazy snapshot whose tree has a marker.
    Lazy {
        name: String,
        parent: Option<String>,
        marker: String,
    },
}

pub fn encode(step: &Step) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let count = |labels: &Labels| labels.get("count").cloned().unwrap_or_default();
    let words = match step {
        Step::Call(Op::Prepare { key, parent, labels }) => {
            ["prepare", key, &text(parent), &count(labels)].join(" ")
        }
        Step::Call(Op::View { key, parent, labels }) => {
            ["view", key, &text(parent), &count(labels)].join(" ")
        }
        Step::Call(Op::Commit { name, key, labels, .. }) => {
            ["commit", key, name, &count(labels)].join(" ")
        }
        Step::Call(Op::Remove { key }) => format!("remove {key}  "),
        Step::Call(Op::Update { key, labels, .. }) => format!("update {key}  {}", count(labels)),
        Step::Call(Op::Cleanup) => "cleanup   ".to_owned(),
        Step::Write { key, marker } => format!("write {key} {marker} "),
        Step::Lazy { name, parent, marker } => ["lazy", name, &text(parent), marker].join(" "),
    };
    assert_eq!(words.split(' ').count(), 4, "{words}");
    words
}

pub fn decode(words: &str) -> Step {
    let [verb, key, second, third] = words.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{words:?}")
    };
    let key = key.to_owned();
    let parent = Some(second.to_owned()).filter(|parent| !parent.is_empty());
    let labels = || Labels::from([("count".to_owned(), third.to_owned())]);
    match verb {
        "prepare" => Step::Call(Op::Prepare { key, parent, labels: labels() }),
        "view" => Step::Call(Op::View { key, parent, labels: labels() }),
        "commit" => {
            let name = second.to_owned();
            Step::Call(Op::Commit { name, key, parent: None, labels: labels() })
        }
        "remove" => Step::Call(Op::Remove { key }),
        "update" => Step::Call(Op::Update { key, labels: labels(), paths: vec![] }),
        "cleanup" => Step::Call(Op::Cleanup),
        "write" => Step::Write { key, marker: second.to_owned() },
        "lazy" => Step::Lazy { name: key, parent, marker: third.to_owned() },
        other => panic!("{other:?}"),
    }
}
