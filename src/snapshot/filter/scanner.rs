//! Cuts a filter into tokens (containerd's `pkg/filters/scanner.go`).
//!
//! What a character means depends on one bit of state: after an operator comes a value, which may
//! hold almost anything.

use super::Problem;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    End,
    Quoted,
    Value,
    Field,
    Separator,
    Operator,
    /// A character that starts no token.
    Other,
}

#[derive(Debug, Clone)]
pub(super) struct Scanner<'a> {
    input: &'a str,
    /// Where the next character starts.
    position: usize,
    value: bool,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(input: &'a str) -> Self {
        Self { input, position: 0, value: false }
    }

    /// Where the next token's white space starts.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// The next character, left in place.
    pub(super) fn peek(&self) -> Option<char> {
        self.input[self.position..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.position += c.len_utf8();
        Some(c)
    }

    /// The next token, where it starts and its text.
    pub(super) fn scan(&mut self) -> Result<(usize, Token, &'a str), (usize, Problem)> {
        while self.peek().is_some_and(char::is_whitespace) {
            self.next();
        }
        let start = self.position;
        let Some(c) = self.next() else {
            return Ok((start, Token::End, ""));
        };
        let token = self.token(c).map_err(|problem| (start, problem))?;
        Ok((start, token, &self.input[start..self.position]))
    }

    /// Takes the rest of the token that starts with `c`.
    fn token(&mut self, c: char) -> Result<Token, Problem> {
        legal(c)?;
        if is_quote(c) {
            self.quoted(c)?;
            return Ok(Token::Quoted);
        }
        if matches!(c, ',' | '.') {
            self.value = false;
            return Ok(Token::Separator);
        }
        if is_operator(c) {
            self.run(is_operator);
            self.value = true;
            return Ok(Token::Operator);
        }
        if self.value {
            self.run(is_value);
            self.value = false;
            return Ok(Token::Value);
        }
        if is_field(c) {
            self.run(is_field);
            return Ok(Token::Field);
        }
        Ok(Token::Other)
    }

    fn run(&mut self, belongs: fn(char) -> bool) {
        while self.peek().is_some_and(belongs) {
            self.next();
        }
    }

    /// Takes up to and with the closing `quote`; what the escapes mean is [`super::quote`]'s.
    fn quoted(&mut self, quote: char) -> Result<(), Problem> {
        loop {
            match self.next() {
                None | Some('\n') => return Err(Problem::NotTerminated),
                Some('\\') => match self.next() {
                    None => return Err(Problem::NotTerminated),
                    Some(c) => legal(c)?,
                },
                Some(c) if c == quote => return Ok(()),
                Some(c) => legal(c)?,
            }
        }
    }
}

fn legal(c: char) -> Result<(), Problem> {
    match c {
        '\0' => Err(Problem::Null),
        char::REPLACEMENT_CHARACTER => Err(Problem::RuneError),
        _ => Ok(()),
    }
}

fn is_quote(c: char) -> bool {
    matches!(c, '/' | '|' | '"')
}

fn is_operator(c: char) -> bool {
    matches!(c, '=' | '!' | '~')
}

fn is_field(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric()
}

/// Wider than Go's `unicode.IsGraphic` by format characters and unassigned ones.
fn is_value(c: char) -> bool {
    c != ',' && c != char::REPLACEMENT_CHARACTER && !c.is_whitespace() && !c.is_control()
}
