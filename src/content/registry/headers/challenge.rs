//! The header `WWW-Authenticate` (RFC 9110, section 11.6.1).

/// The longest header that is looked at, in bytes.
const MAX_HEADER: usize = 8192;

/// One way to authenticate that a server offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// `basic`, `bearer`..., in lower case.
    pub scheme: String,
    params: Vec<(String, String)>,
}

impl Challenge {
    /// The parameter of this name, in lower case.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The challenges in one header, of which 8 KiB are looked at. What cannot be understood ends
    /// the list.
    pub fn parse_all(header: &str) -> Vec<Self> {
        let mut challenges: Vec<Self> = Vec::new();
        let mut rest = header.get(..header.len().min(MAX_HEADER)).unwrap_or_default();
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            let end = rest.find(|c| !is_token(c)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            if word.is_empty() {
                return challenges;
            }
            let word = word.to_ascii_lowercase();
            let value = after.trim_start_matches([' ', '\t']).strip_prefix('=');
            match (value, challenges.last_mut()) {
                (None, _) => {
                    challenges.push(Self { scheme: word, params: Vec::new() });
                    rest = after;
                }
                (Some(value), Some(challenge)) => {
                    let (value, after) = take_value(value.trim_start_matches([' ', '\t']));
                    challenge.params.push((word, value));
                    rest = after;
                }
                (Some(_), None) => return challenges,
            }
        }
    }
}

/// A token or a quoted string, and what follows it.
fn take_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            c => value.push(c),
        }
    }
    (value, "")
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_and_their_parameters_are_taken_apart() {
        let header = r#"Bearer realm="https://auth.example/token",service="r",scope="repository:a/b:pull,push", Basic Realm = "x \"y\"""#;
        let [bearer, basic] = &Challenge::parse_all(header)[..] else {
            panic!("{:?}", Challenge::parse_all(header))
        };
        assert_eq!(bearer.scheme, "bearer");
        assert_eq!(bearer.param("realm"), Some("https://auth.example/token"));
        assert_eq!(bearer.param("scope"), Some("repository:a/b:pull,push"));
        assert_eq!(bearer.param("error"), None);
        assert_eq!((basic.scheme.as_str(), basic.param("realm")), ("basic", Some("x \"y\"")));
        assert_eq!(Challenge::parse_all("Basic").len(), 1);
        assert_eq!(
            Challenge::parse_all("Bearer realm=x,error=invalid_token")[0].param("error"),
            Some("invalid_token")
        );
    }

    #[test]
    fn broken_headers_give_what_can_be_read() {
        assert!(Challenge::parse_all("").is_empty());
        assert!(Challenge::parse_all("realm=\"x\"").is_empty());
        assert_eq!(
            Challenge::parse_all("Bearer realm=\"unclosed")[0].param("realm"),
            Some("unclosed")
        );
        assert_eq!(Challenge::parse_all("Bearer \u{7f}").len(), 1);
    }

    proptest::proptest! {
        #[test]
        fn no_header_makes_it_panic(header in proptest::prelude::any::<String>()) {
            Challenge::parse_all(&header);
        }

        #[test]
        fn no_likely_header_makes_it_panic(header in "[a-zé=\", \\\\]{0,40}") {
            Challenge::parse_all(&header);
        }
    }
}
