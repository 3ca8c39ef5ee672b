//! Puts tokens together to selectors (containerd's `pkg/filters/parser.go`).

use regex::bytes::{Regex, RegexBuilder};

use super::quote::unquote;
use super::scanner::{Scanner, Token};
use super::{Condition, MAX_LEN, MAX_REGEX, ParseError, Problem, Selector};

type Located<T> = Result<T, (usize, Problem)>;

/// The selectors of one filter; none for an empty one.
pub(super) fn parse(input: &str) -> Result<Vec<Selector>, ParseError> {
    if input.is_empty() {
        return Ok(Vec::new());
    }
    if input.len() > MAX_LEN {
        let shown = input.chars().take(80).collect();
        return Err(ParseError { input: shown, position: MAX_LEN, problem: Problem::TooLong });
    }
    let mut scanner = Scanner::new(input);
    selectors(&mut scanner).map_err(|(position, problem)| ParseError {
        input: input.to_owned(),
        position,
        problem,
    })
}

fn selectors(scanner: &mut Scanner<'_>) -> Located<Vec<Selector>> {
    let mut all = vec![selector(scanner)?];
    loop {
        match scanner.peek() {
            None => return Ok(all),
            Some(',') => {
                scanner.scan()?;
                all.push(selector(scanner)?);
            }
            Some(other) => return Err((scanner.position(), Problem::Unexpected(other))),
        }
    }
}

fn selector(scanner: &mut Scanner<'_>) -> Located<Selector> {
    let fieldpath = fieldpath(scanner)?;
    let condition = match scanner.peek() {
        None | Some(',') => Condition::Present,
        Some(_) => condition(scanner)?,
    };
    Ok(Selector { fieldpath, condition })
}

fn fieldpath(scanner: &mut Scanner<'_>) -> Located<Vec<Vec<u8>>> {
    let mut fields = vec![field(scanner)?];
    while scanner.peek() == Some('.') {
        scanner.scan()?;
        fields.push(field(scanner)?);
    }
    Ok(fields)
}

fn field(scanner: &mut Scanner<'_>) -> Located<Vec<u8>> {
    let (position, token, text) = scanner.scan()?;
    match token {
        Token::Field => Ok(text.as_bytes().to_vec()),
        Token::Quoted if !text.starts_with('"') => Err((position, Problem::InvalidQuote)),
        Token::Quoted => unquote(text).map_err(|problem| (position, problem)),
        Token::End | Token::Value | Token::Separator | Token::Operator | Token::Other => {
            Err((position, Problem::ExpectedField))
        }
    }
}

fn condition(scanner: &mut Scanner<'_>) -> Located<Condition> {
    let (position, token, text) = scanner.scan()?;
    if token != Token::Operator {
        return Err((position, Problem::ExpectedOperator));
    }
    match text {
        "==" => Ok(Condition::Equal(value(scanner, false)?.1)),
        "!=" => Ok(Condition::NotEqual(value(scanner, false)?.1)),
        "~=" => {
            let (position, pattern) = value(scanner, true)?;
            regex(&pattern).map(Condition::Matches).map_err(|problem| (position, problem))
        }
        other => Err((position, Problem::UnknownOperator(other.to_owned()))),
    }
}

fn value(scanner: &mut Scanner<'_>, any_quote: bool) -> Located<(usize, Vec<u8>)> {
    let (position, token, text) = scanner.scan()?;
    let value = match token {
        Token::Value | Token::Field => text.as_bytes().to_vec(),
        Token::Quoted if !any_quote && !text.starts_with('"') => {
            return Err((position, Problem::InvalidQuote));
        }
        Token::Quoted => unquote(text).map_err(|problem| (position, problem))?,
        Token::End | Token::Separator | Token::Operator | Token::Other => {
            return Err((position, Problem::ExpectedValue));
        }
    };
    Ok((position, value))
}

fn regex(pattern: &[u8]) -> Result<Regex, Problem> {
    let pattern =
        std::str::from_utf8(pattern).map_err(|_| Problem::Regex("not UTF-8".to_owned()))?;
    RegexBuilder::new(pattern)
        .octal(true)
        .size_limit(MAX_REGEX)
        .dfa_size_limit(MAX_REGEX)
        .build()
        .map_err(|e| Problem::Regex(e.to_string()))
}
