//! Text to tokens. Linear; every token knows the byte where it begins.

use super::ExpressionError;

/// The smallest piece that means something.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum LexicalToken<'a> {
    Number(f64),
    Text(String),
    /// A name or a keyword; the parser knows which.
    Name(&'a str),
    Symbol(&'static str),
    End,
}

/// Longer symbols before their own beginnings.
const SYMBOLS: [&str; 32] = [
    "**", "==", "!=", "<=", ">=", "&&", "||", "??", "?.", "(", ")", "[", "]", "{", "}", "+", "-", "*", "/",
    "%", "^", "<", ">", "!", "?", ":", ",", ".", "|", ";", "#", "=",
];

/// All tokens of `text` with their positions; the last is [`LexicalToken::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, LexicalToken<'_>)>, ExpressionError> {
    let mut lexer = Lexer { text, position: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blanks_and_comments()?;
        let start = lexer.position;
        let after_operand = matches!(
            tokens.last(),
            Some((
                _,
                LexicalToken::Name(_) | LexicalToken::Number(_) | LexicalToken::Symbol(")" | "]" | "#")
            ))
        );
        let token = lexer.token(after_operand)?;
        let done = token == LexicalToken::End;
        tokens.push((start, token));
        if done {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.position..]
    }

    fn byte(&self, ahead: usize) -> u8 {
        self.text.as_bytes().get(self.position + ahead).copied().unwrap_or(0)
    }

    fn skip_blanks_and_comments(&mut self) -> Result<(), ExpressionError> {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.position += rest.len() - trimmed.len();
            let unended = || ExpressionError::new(self.position, "expected `*/` to end this comment");
            self.position += match trimmed.get(..2) {
                Some("//") => trimmed.find('\n').unwrap_or(trimmed.len()),
                Some("/*") => trimmed.find("*/").ok_or_else(unended)? + 2,
                Some(_) | None => return Ok(()),
            };
        }
    }

    fn token(&mut self, after_operand: bool) -> Result<LexicalToken<'a>, ExpressionError> {
        let first = self.byte(0);
        let dot_number = first == b'.' && self.byte(1).is_ascii_digit() && !after_operand;
        if self.rest().is_empty() {
            return Ok(LexicalToken::End);
        }
        if first.is_ascii_digit() || dot_number {
            return self.number();
        }
        if first.is_ascii_alphabetic() || first == b'_' || first == b'$' {
            return Ok(LexicalToken::Name(
                self.take(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$'),
            ));
        }
        if matches!(first, b'\'' | b'"' | b'`') {
            return self.quoted(char::from(first));
        }
        for symbol in SYMBOLS {
            // In `a ?.5 : 1` the dot belongs to the number.
            let ternary = symbol == "?." && self.byte(2).is_ascii_digit();
            if self.rest().starts_with(symbol) && !ternary {
                self.position += symbol.len();
                return Ok(LexicalToken::Symbol(symbol));
            }
        }
        let found = self.rest().chars().next().unwrap_or_default();
        Err(ExpressionError::new(self.position, format!("unexpected character {found:?}")))
    }

    fn take(&mut self, belongs: impl Fn(u8) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.bytes().position(|byte| !belongs(byte)).unwrap_or(rest.len());
        self.position += length;
        &rest[..length]
    }

    fn number(&mut self) -> Result<LexicalToken<'a>, ExpressionError> {
        let start = self.position;
        if self.byte(0) == b'0' && matches!(self.byte(1), b'x' | b'X') {
            self.position += 2;
            let digits = self.take(|byte| byte.is_ascii_hexdigit() || byte == b'_').replace('_', "");
            // 52 bits are exact in a number.
            return match u64::from_str_radix(&digits, 16) {
                Ok(value) if value < 1 << 52 => Ok(LexicalToken::Number(value as f64)),
                Ok(_) | Err(_) => {
                    Err(ExpressionError::new(start, "expected a hexadecimal number of up to 52 bits"))
                }
            };
        }
        let digits = |byte: u8| byte.is_ascii_digit() || byte == b'_';
        self.take(digits);
        if self.byte(0) == b'.' && self.byte(1).is_ascii_digit() {
            self.position += 1;
            self.take(digits);
        }
        let exponent_at = 1 + usize::from(matches!(self.byte(1), b'+' | b'-'));
        if matches!(self.byte(0), b'e' | b'E') && self.byte(exponent_at).is_ascii_digit() {
            self.position += exponent_at;
            self.take(digits);
        }
        let text = self.text[start..self.position].replace('_', "");
        let glued = self.byte(0).is_ascii_alphabetic();
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() && !glued => Ok(LexicalToken::Number(value)),
            Ok(_) | Err(_) => Err(ExpressionError::new(start, "expected a number")),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<LexicalToken<'a>, ExpressionError> {
        let start = self.position;
        let unended = || ExpressionError::new(start, format!("expected {quote} to end this text"));
        let mut symbols = self.text[start + 1..].char_indices();
        let mut text = String::new();
        loop {
            let (at, symbol) = symbols.next().ok_or_else(unended)?;
            if symbol == quote {
                self.position = start + 1 + at + 1;
                return Ok(LexicalToken::Text(text));
            }
            if symbol != '\\' || quote == '`' {
                text.push(symbol);
                continue;
            }
            let escaped = escape(&mut symbols);
            let bad =
                || ExpressionError::new(start + 1 + at, "expected one of \\n \\r \\t \\\\ \\' \\\" \\uXXXX");
            text.push(escaped.ok_or_else(bad)?);
        }
    }
}

/// The symbol that an escape stands for; the backslash has been read.
fn escape(symbols: &mut std::str::CharIndices<'_>) -> Option<char> {
    let (_at, symbol) = symbols.next()?;
    match symbol {
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        '\\' | '\'' | '"' | '/' | '`' => Some(symbol),
        'u' => {
            let code = symbols
                .by_ref()
                .take(4)
                .try_fold(0, |code, (_at, digit)| Some(code * 16 + digit.to_digit(16)?))?;
            char::from_u32(code)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<LexicalToken<'_>> {
        tokens(text).unwrap().into_iter().map(|(_position, token)| token).collect()
    }

    #[test]
    fn numbers_names_texts_and_symbols_are_told_apart() {
        let expected = vec![
            LexicalToken::Name("a"),
            LexicalToken::Symbol("?."),
            LexicalToken::Name("b"),
            LexicalToken::Symbol("**"),
            LexicalToken::Number(0.5),
            LexicalToken::Symbol("-"),
            LexicalToken::Number(1000.0),
            LexicalToken::Symbol("=="),
            LexicalToken::Text("x'\n€".to_owned()),
            LexicalToken::End,
        ];
        assert_eq!(kinds("a?.b**.5 - 1_000 /* no */ == 'x\\'\\n\\u20ac' // end"), expected);
        assert_eq!(
            kinds("0x1F 1.5e-3"),
            [LexicalToken::Number(31.0), LexicalToken::Number(0.0015), LexicalToken::End]
        );
        assert_eq!(kinds("`a\\b`"), [LexicalToken::Text("a\\b".to_owned()), LexicalToken::End]);
    }

    #[test]
    fn a_dot_before_a_digit_is_a_member_after_an_operand() {
        assert_eq!(kinds("x?.5:1").len(), 6);
        assert_eq!(kinds("a.5")[1], LexicalToken::Symbol("."));
    }

    #[test]
    fn what_is_no_token_is_refused_with_its_position() {
        for (text, position) in [
            ("1 + €", 4),
            ("'abc", 0),
            ("2 \"a\\q\"", 4),
            ("1 /* x", 2),
            ("12ab", 0),
            ("'\\u12'", 1),
            ("1e999", 0),
        ] {
            assert_eq!(tokens(text).unwrap_err().position(), position, "{text}");
        }
    }
}
