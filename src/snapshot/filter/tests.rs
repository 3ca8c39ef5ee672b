use std::collections::BTreeMap;
use std::time::SystemTime;

use proptest::prelude::*;
use rstest::rstest;

use super::super::{Kind, Labels};
use super::*;

struct Entry {
    name: &'static str,
    other: &'static str,
    labels: BTreeMap<&'static str, &'static str>,
}

impl Fields for Entry {
    fn field(&self, path: &[Vec<u8>]) -> Option<&str> {
        match path[0].as_slice() {
            b"name" => Some(self.name).filter(|v| !v.is_empty()),
            b"other" => Some(self.other).filter(|v| !v.is_empty()),
            b"labels" => {
                let key = path[1..].join(&b'.');
                self.labels.get(std::str::from_utf8(&key).ok()?).copied()
            }
            _ => None,
        }
    }
}

/// The entries of containerd's `filter_test.go`.
fn corpus() -> Vec<Entry> {
    let entry = |name, other, labels: &[(&'static str, &'static str)]| Entry {
        name,
        other,
        labels: labels.iter().copied().collect(),
    };
    vec![
        entry("foo", "", &[("foo", "true")]),
        entry("bar", "", &[]),
        entry("foo", "", &[("foo", "present"), ("more complex label", "present")]),
        entry("bar", "", &[("bar", "true")]),
        entry("fooer", "", &[("more complex label with \\ and \"", "present")]),
        entry("fooer", "", &[("more complex label with \\ and \".post", "present")]),
        entry("baz", "too complex, yo", &[]),
        entry("bazo", "abc", &[]),
        entry("compound", "", &[("foo", "omg_asdf.asdf-qwer")]),
    ]
}

#[rstest]
#[case::empty("", &[0, 1, 2, 3, 4, 5, 6, 7, 8])]
#[case::present("name", &[0, 1, 2, 3, 4, 5, 6, 7, 8])]
#[case::label_present("labels.foo", &[0, 2, 8])]
#[case::name_and_label_present("labels.foo,name", &[0, 2, 8])]
#[case::label_value("labels.foo==true", &[0])]
#[case::label_value_punctuated("labels.foo==omg_asdf.asdf-qwer", &[8])]
#[case::name("name==bar", &[1, 3])]
#[case::name_not_equal("name!=bar", &[0, 2, 4, 5, 6, 7, 8])]
#[case::name_equal_and_label_present("name==bar,labels.bar", &[3])]
#[case::quoted_value(r#"other=="too complex, yo""#, &[6])]
#[case::regexp_value("other~=[abc]+,name!=foo", &[6, 7])]
#[case::regexp_quoted_value("other~=/[abc]+/,name!=foo", &[6, 7])]
#[case::regexp_quoted_with_comma("other~=/[abc]{1,2}/,name!=foo", &[6, 7])]
#[case::regexp_quoted_with_bars("other~=|[abc]{1,2}|,name!=foo", &[6, 7])]
#[case::regexp_quoted_garbage(r#"other~=/[abc]{0,1}"\//,name!=foo"#, &[])]
#[case::name_and_label_value("name==bar,labels.bar==true", &[3])]
#[case::name_and_label_value_no_match("name==bar,labels.bar==wrong", &[])]
#[case::label_quoted(r#"name==foo,labels."more complex label""#, &[2])]
#[case::label_quoted_with_quotes(r#"labels."more complex label with \\ and \""==present"#, &[4])]
#[case::label_quoted_embedded(r#"labels."more complex label with \\ and \"".post==present"#, &[5])]
#[case::spaces_before_tokens(" name ==  bar,  labels.bar", &[3])]
#[case::escapes(r#"name=="\x62\141\u0072""#, &[1, 3])]
#[case::octal_in_a_regexp(r"name~=^\142ar", &[1, 3])]
#[case::not_utf8_differs_from_everything(r#"name!="\xff""#, &[0, 1, 2, 3, 4, 5, 6, 7, 8])]
#[case::absent_matches_as_empty("labels.bar~=^$", &[0, 1, 2, 4, 5, 6, 7, 8])]
fn containerd_matches(#[case] filter: &str, #[case] expected: &[usize]) {
    let filter = Filter::parse(&[filter]).unwrap();
    let found: Vec<usize> = corpus()
        .iter()
        .enumerate()
        .filter(|(_, entry)| filter.matches(*entry))
        .map(|(i, _)| i)
        .collect();
    assert_eq!(found, expected);
}

#[rstest]
#[case::field_alternative_quote("labels.|foo|==omg_asdf.asdf-qwer", 7, Problem::InvalidQuote)]
#[case::value_alternative_quote("name==|foo|", 6, Problem::InvalidQuote)]
#[case::question_mark(r#"labels.?"more""#, 7, Problem::ExpectedField)]
#[case::trailing_comma("name==foo,", 10, Problem::ExpectedField)]
#[case::trailing_separator("labels.", 7, Problem::ExpectedField)]
#[case::missing_value("image~=,id?=?fbaq", 7, Problem::ExpectedValue)]
#[case::missing_last_value("name==", 6, Problem::ExpectedValue)]
#[case::field_not_terminated("labels.ns/key==value", 9, Problem::NotTerminated)]
#[case::value_not_terminated("labels.key==/value", 12, Problem::NotTerminated)]
#[case::newline_in_quotes("labels.\"a\nb\"==value", 7, Problem::NotTerminated)]
#[case::illegal_escape(r#"labels."\g""#, 7, Problem::IllegalEscape)]
#[case::illegal_hex(r#"labels."\xaz""#, 7, Problem::IllegalEscape)]
#[case::signed_hex(r#"labels."\x+1""#, 7, Problem::IllegalEscape)]
#[case::octal_overflow(r#"labels."\777""#, 7, Problem::IllegalEscape)]
#[case::null("\0", 0, Problem::Null)]
#[case::single_equals("name=foo", 4, Problem::UnknownOperator("=".to_owned()))]
#[case::two_values("name==foo bar", 9, Problem::Unexpected(' '))]
#[case::only_comma(",", 0, Problem::ExpectedField)]
fn containerd_refuses(#[case] filter: &str, #[case] position: usize, #[case] problem: Problem) {
    let error = Filter::parse(&[filter]).unwrap_err();
    assert_eq!((error.position, error.problem), (position, problem), "{filter:?}");
}

#[test]
fn bad_regular_expressions_are_errors() {
    for filter in ["name~=(", "name~=/a{9999}{9999}/", r#"name~="\xff""#] {
        let error = Filter::parse(&[filter]).unwrap_err();
        assert!(matches!(error.problem, Problem::Regex(_)), "{error}");
    }
}

#[test]
fn long_filters_are_refused() {
    let filter = "x".repeat(MAX_LEN + 1);
    assert_eq!(Filter::parse(&[filter]).unwrap_err().problem, Problem::TooLong);
}

fn info() -> Info {
    Info {
        kind: Kind::Active,
        name: "a".to_owned(),
        parent: None,
        labels: Labels::from([("containerd.io/snapshot.ref".to_owned(), "sha256:5a".to_owned())]),
        created: SystemTime::UNIX_EPOCH,
        updated: SystemTime::UNIX_EPOCH,
    }
}

#[rstest]
#[case::what_containerd_sends(r#"labels."containerd.io/snapshot.ref"==sha256:5a,parent=="""#, true)]
#[case::parent_is_always_present("parent", true)]
#[case::no_parent(r#"parent!="""#, false)]
#[case::kind("kind==active", true)]
#[case::kind_is_lower_case("kind==Active", false)]
#[case::joined_label(r#"labels."containerd.io/snapshot"."ref""#, true)]
#[case::labels_alone("labels", false)]
#[case::unknown_field("created", false)]
fn fields_of_an_info(#[case] filter: &str, #[case] expected: bool) {
    assert_eq!(Filter::parse(&[filter]).unwrap().matches(&info()), expected);
}

#[test]
fn any_of_several_filters_is_enough() {
    let matches = |filters: &[&str]| Filter::parse(filters).unwrap().matches(&info());
    assert!(matches(&[]));
    assert!(matches(&["name==b", "name==a"]));
    assert!(!matches(&["name==b", "name==c"]));
    assert!(matches(&["name==b", ""]));
}

fn quote(s: &str) -> String {
    let mut quoted = String::from("\"");
    for c in s.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

proptest! {
    #[test]
    fn any_text_parses_or_fails_without_panic(filter in any::<String>()) {
        if let Ok(filter) = Filter::parse(&[filter]) {
            filter.matches(&info());
        }
    }

    #[test]
    fn texts_of_the_grammar_do_not_panic(filter in r#"([a-z."/|\\,=!~ x0-9]|==|!=|~=|\\x[0-9a-f]{2}|é){0,24}"#) {
        if let Ok(filter) = Filter::parse(&[filter]) {
            filter.matches(&info());
        }
    }

    #[test]
    fn quoted_labels_and_values_match_themselves(key in "[^\n\0\u{fffd}]{1,12}", value in "[^\n\0\u{fffd}]{1,12}") {
        let mut info = info();
        info.labels.insert(key.clone(), value.clone());
        let filter = format!("labels.{}=={}", quote(&key), quote(&value));
        prop_assert!(Filter::parse(&[filter]).unwrap().matches(&info));
        let filter = format!("labels.{}!={}", quote(&key), quote(&value));
        prop_assert!(!Filter::parse(&[filter]).unwrap().matches(&info));
    }
}
