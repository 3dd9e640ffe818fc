//! Tokens to a syntax tree, by binding powers (Pratt). Types are not known yet.
//!
//! Powers and associativity are those of Gorse's language: from loose to tight `|`, `or`, `and`, comparisons with
//! `in` and the text tests, `+ -`, `not !`, `* / %`, sign, `**`, `??`; a conditional is looser than all of them.
//! Both the recursion of the parser and the depth of the tree are limited, so that no text can exhaust the stack
//! here or in anything that walks the tree later.

use super::ExpressionError;
use super::lexer::{Token, tokens};

/// Longest expression, in bytes.
const MAX_LENGTH: usize = 16 * 1024;
/// Deepest tree and deepest nesting of parentheses.
const MAX_DEPTH: usize = 100;

/// A piece of an expression and where it is.
#[derive(Debug)]
pub(super) struct Syntax {
    pub(super) position: usize,
    depth: usize,
    pub(super) form: Form,
}

/// What a piece is made of.
#[derive(Debug)]
pub(super) enum Form {
    Nil,
    Bool(bool),
    Number(f64),
    Text(String),
    Name(String),
    /// `#`, the element that a predicate is asked about.
    Element,
    List(Vec<Syntax>),
    Member {
        of: Box<Syntax>,
        name: String,
        optional: bool,
    },
    Index {
        of: Box<Syntax>,
        index: Box<Syntax>,
        optional: bool,
    },
    Call {
        name: String,
        arguments: Vec<Syntax>,
    },
    Method {
        of: Box<Syntax>,
        name: String,
        arguments: Vec<Syntax>,
        optional: bool,
    },
    Unary {
        operator: Unary,
        operand: Box<Syntax>,
    },
    Binary {
        operator: Binary,
        left: Box<Syntax>,
        right: Box<Syntax>,
    },
    Conditional {
        condition: Box<Syntax>,
        then: Box<Syntax>,
        otherwise: Box<Syntax>,
    },
    Let {
        name: String,
        value: Box<Syntax>,
        body: Box<Syntax>,
    },
}

/// Operators with one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unary {
    Not,
    Minus,
    Plus,
}

/// Operators with two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Or,
    And,
    Equal,
    NotEqual,
    Order(Order),
    In,
    Test(TextTest),
    Arithmetic(Arithmetic),
    Coalesce,
}

/// Operators that need an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Questions about two texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextTest {
    Contains,
    StartsWith,
    EndsWith,
}

/// Operators that compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Power,
}

const NOT_POWER: u8 = 50;
const SIGN_POWER: u8 = 90;

/// The operator that a token spells, and how tightly it binds.
fn infix(token: &Token<'_>) -> Option<(Binary, u8)> {
    let (Token::Symbol(spelling) | Token::Name(spelling)) = token else { return None };
    Some(match *spelling {
        "or" | "||" => (Binary::Or, 10),
        "and" | "&&" => (Binary::And, 15),
        "==" => (Binary::Equal, 20),
        "!=" => (Binary::NotEqual, 20),
        "<" => (Binary::Order(Order::Less), 20),
        "<=" => (Binary::Order(Order::LessOrEqual), 20),
        ">" => (Binary::Order(Order::Greater), 20),
        ">=" => (Binary::Order(Order::GreaterOrEqual), 20),
        "in" => (Binary::In, 20),
        "contains" => (Binary::Test(TextTest::Contains), 20),
        "startsWith" => (Binary::Test(TextTest::StartsWith), 20),
        "endsWith" => (Binary::Test(TextTest::EndsWith), 20),
        "+" => (Binary::Arithmetic(Arithmetic::Add), 30),
        "-" => (Binary::Arithmetic(Arithmetic::Subtract), 30),
        "*" => (Binary::Arithmetic(Arithmetic::Multiply), 60),
        "/" => (Binary::Arithmetic(Arithmetic::Divide), 60),
        "%" => (Binary::Arithmetic(Arithmetic::Remainder), 60),
        "**" | "^" => (Binary::Arithmetic(Arithmetic::Power), 100),
        "??" => (Binary::Coalesce, 120),
        _ => return None,
    })
}

/// Words that cannot name anything.
const KEYWORDS: [&str; 13] = [
    "and",
    "or",
    "not",
    "in",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "let",
    "true",
    "false",
    "nil",
    "null",
];

/// The tree of `text`.
pub(super) fn parse(text: &str) -> Result<Syntax, ExpressionError> {
    if text.len() > MAX_LENGTH {
        let message = format!("an expression may have {MAX_LENGTH} bytes, this one has {}", text.len());
        return Err(ExpressionError::new(MAX_LENGTH, message));
    }
    let mut parser = Parser { tokens: tokens(text)?, next: 0, nesting: 0 };
    let syntax = parser.sequence()?;
    if *parser.peek() == Token::End { Ok(syntax) } else { Err(parser.unexpected("an operator or the end")) }
}

struct Parser<'a> {
    tokens: Vec<(usize, Token<'a>)>,
    next: usize,
    nesting: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> &Token<'a> {
        self.ahead(0)
    }

    /// The last token is the end and stays the next for ever.
    fn ahead(&self, count: usize) -> &Token<'a> {
        let index = (self.next + count).min(self.tokens.len() - 1);
        &self.tokens[index].1
    }

    fn position(&self) -> usize {
        self.tokens[self.next].0
    }

    fn advance(&mut self) {
        self.next = (self.next + 1).min(self.tokens.len() - 1);
    }

    fn is_at(&self, spelling: &str) -> bool {
        matches!(self.peek(), Token::Symbol(found) | Token::Name(found) if *found == spelling)
    }

    fn eat(&mut self, spelling: &str) -> bool {
        let found = self.is_at(spelling);
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, spelling: &str) -> Result<(), ExpressionError> {
        if self.eat(spelling) { Ok(()) } else { Err(self.unexpected(&format!("`{spelling}`"))) }
    }

    fn unexpected(&self, expected: &str) -> ExpressionError {
        let found = match self.peek() {
            Token::Number(number) => format!("`{number}`"),
            Token::Text(text) => format!("the text {text:?}"),
            Token::Name("matches") => "`matches`, which is not supported".to_owned(),
            Token::Name(spelling) => format!("`{spelling}`"),
            Token::Symbol(spelling) => format!("`{spelling}`"),
            Token::End => "the end".to_owned(),
        };
        ExpressionError::new(self.position(), format!("expected {expected}, found {found}"))
    }

    fn name(&mut self, expected: &str) -> Result<String, ExpressionError> {
        match *self.peek() {
            Token::Name(name) => {
                self.advance();
                Ok(name.to_owned())
            }
            Token::Number(_) | Token::Text(_) | Token::Symbol(_) | Token::End => {
                Err(self.unexpected(expected))
            }
        }
    }

    fn node(&self, position: usize, form: Form) -> Result<Syntax, ExpressionError> {
        let deepest = match &form {
            Form::Nil | Form::Bool(_) | Form::Number(_) | Form::Text(_) | Form::Name(_) | Form::Element => 0,
            Form::List(parts) | Form::Call { arguments: parts, .. } => deepest(parts),
            Form::Member { of, .. } => of.depth,
            Form::Method { of, arguments, .. } => of.depth.max(deepest(arguments)),
            Form::Unary { operand, .. } => operand.depth,
            Form::Index { of: left, index: right, .. }
            | Form::Binary { left, right, .. }
            | Form::Let { value: left, body: right, .. } => left.depth.max(right.depth),
            Form::Conditional { condition, then, otherwise } => {
                condition.depth.max(then.depth).max(otherwise.depth)
            }
        };
        if deepest >= MAX_DEPTH {
            return Err(too_deep(position));
        }
        Ok(Syntax { position, depth: deepest + 1, form })
    }

    /// Runs `parse` one level deeper.
    fn nested<T>(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<T, ExpressionError>,
    ) -> Result<T, ExpressionError> {
        if self.nesting >= MAX_DEPTH {
            return Err(too_deep(self.position()));
        }
        self.nesting += 1;
        let parsed = parse(self);
        self.nesting -= 1;
        parsed
    }

    /// `let x = ...; let y = ...; body`
    fn sequence(&mut self) -> Result<Syntax, ExpressionError> {
        if !self.is_at("let") {
            return self.expression(0);
        }
        let position = self.position();
        self.advance();
        let name_at = self.position();
        let name = self.name("a name")?;
        if KEYWORDS.contains(&name.as_str()) {
            return Err(ExpressionError::new(name_at, format!("`{name}` cannot be a name")));
        }
        self.expect("=")?;
        let value = Box::new(self.expression(0)?);
        self.expect(";")?;
        let body = Box::new(self.nested(Self::sequence)?);
        self.node(position, Form::Let { name, value, body })
    }

    /// Whatever binds at least as tightly as `lowest`.
    fn expression(&mut self, lowest: u8) -> Result<Syntax, ExpressionError> {
        self.nested(|parser| {
            let mut left = parser.prefix()?;
            while let Some(joined) = parser.infix_or_pipe(&mut left, lowest)? {
                left = joined;
            }
            if lowest == 0 && parser.is_at("?") { parser.conditional(left) } else { Ok(left) }
        })
    }

    /// Takes the next operator and its right side, if it binds tightly enough.
    fn infix_or_pipe(&mut self, left: &mut Syntax, lowest: u8) -> Result<Option<Syntax>, ExpressionError> {
        let position = self.position();
        let negated = self.is_at("not")
            && matches!(self.ahead(1), Token::Name("in" | "contains" | "startsWith" | "endsWith"));
        let Some((operator, power)) = infix(self.ahead(usize::from(negated))) else {
            return if lowest == 0 && self.eat("|") { self.pipe(take(left)).map(Some) } else { Ok(None) };
        };
        if power < lowest {
            return Ok(None);
        }
        self.next += 1 + usize::from(negated);
        let right_power = if operator == Binary::Arithmetic(Arithmetic::Power) { power } else { power + 1 };
        let right = Box::new(self.expression(right_power)?);
        let joined = self.node(position, Form::Binary { operator, left: Box::new(take(left)), right })?;
        if !negated {
            return Ok(Some(joined));
        }
        self.node(position, Form::Unary { operator: Unary::Not, operand: Box::new(joined) }).map(Some)
    }

    /// `left | name(more)` is `name(left, more)`.
    fn pipe(&mut self, left: Syntax) -> Result<Syntax, ExpressionError> {
        let position = self.position();
        let name = self.name("the name of a function")?;
        self.expect("(")?;
        let mut arguments = vec![left];
        arguments.extend(self.arguments()?);
        let call = self.node(position, Form::Call { name, arguments })?;
        self.postfix(call)
    }

    fn conditional(&mut self, condition: Syntax) -> Result<Syntax, ExpressionError> {
        let position = self.position();
        self.expect("?")?;
        let condition = Box::new(condition);
        let then = Box::new(self.expression(0)?);
        self.expect(":")?;
        let otherwise = Box::new(self.expression(0)?);
        self.node(position, Form::Conditional { condition, then, otherwise })
    }

    fn prefix(&mut self) -> Result<Syntax, ExpressionError> {
        let position = self.position();
        let (operator, power) = match self.peek() {
            Token::Symbol("!") | Token::Name("not") => (Unary::Not, NOT_POWER),
            Token::Symbol("-") => (Unary::Minus, SIGN_POWER),
            Token::Symbol("+") => (Unary::Plus, SIGN_POWER),
            Token::Number(_) | Token::Text(_) | Token::Name(_) | Token::Symbol(_) | Token::End => {
                let operand = self.operand()?;
                return self.postfix(operand);
            }
        };
        self.advance();
        let operand = Box::new(self.expression(power)?);
        self.node(position, Form::Unary { operator, operand })
    }

    fn operand(&mut self) -> Result<Syntax, ExpressionError> {
        let position = self.position();
        let token = self.peek().clone();
        match token {
            Token::Number(number) => self.leaf(Form::Number(number)),
            Token::Text(text) => self.leaf(Form::Text(text)),
            Token::Name("true") => self.leaf(Form::Bool(true)),
            Token::Name("false") => self.leaf(Form::Bool(false)),
            Token::Name("nil" | "null") => self.leaf(Form::Nil),
            Token::Name(name) if !KEYWORDS.contains(&name) => {
                self.advance();
                if !self.eat("(") {
                    return self.node(position, Form::Name(name.to_owned()));
                }
                let arguments = self.arguments()?;
                self.node(position, Form::Call { name: name.to_owned(), arguments })
            }
            Token::Symbol("#") => self.leaf(Form::Element),
            // `.Field` is `#.Field`; the dot is left for the postfix.
            Token::Symbol(".") => self.node(position, Form::Element),
            Token::Symbol("(") => {
                self.advance();
                let inner = self.nested(Self::sequence)?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Symbol("[") => {
                self.advance();
                let parts = self.separated("]")?;
                self.node(position, Form::List(parts))
            }
            Token::Name(_) | Token::Symbol(_) | Token::End => Err(self.unexpected("a value")),
        }
    }

    fn leaf(&mut self, form: Form) -> Result<Syntax, ExpressionError> {
        let position = self.position();
        self.advance();
        self.node(position, form)
    }

    /// Members, methods and indexes behind an operand. Behind a `?.` the whole rest of the chain is optional.
    fn postfix(&mut self, operand: Syntax) -> Result<Syntax, ExpressionError> {
        let mut chain = operand;
        let mut optional = false;
        loop {
            let position = self.position();
            let questioned = self.eat("?.");
            optional |= questioned;
            if self.eat(".") || (questioned && !self.is_at("[")) {
                chain = self.member(chain, optional)?;
            } else if self.eat("[") {
                let index = Box::new(self.expression(0)?);
                self.expect("]")?;
                chain = self.node(position, Form::Index { of: Box::new(chain), index, optional })?;
            } else {
                return Ok(chain);
            }
        }
    }

    fn member(&mut self, of: Syntax, optional: bool) -> Result<Syntax, ExpressionError> {
        let position = self.position();
        let name = self.name("the name of a field or method")?;
        let of = Box::new(of);
        if !self.eat("(") {
            return self.node(position, Form::Member { of, name, optional });
        }
        let arguments = self.arguments()?;
        self.node(position, Form::Method { of, name, arguments, optional })
    }

    /// Arguments up to and with the closing parenthesis.
    fn arguments(&mut self) -> Result<Vec<Syntax>, ExpressionError> {
        self.separated(")")
    }

    fn separated(&mut self, end: &str) -> Result<Vec<Syntax>, ExpressionError> {
        let mut parts = Vec::new();
        while !self.eat(end) {
            // A predicate may stand in braces.
            if self.eat("{") {
                parts.push(self.nested(Self::sequence)?);
                self.expect("}")?;
            } else {
                parts.push(self.expression(0)?);
            }
            if !self.eat(",") && !self.is_at(end) {
                return Err(self.unexpected(&format!("`,` or `{end}`")));
            }
        }
        Ok(parts)
    }
}

fn deepest(parts: &[Syntax]) -> usize {
    parts.iter().map(|part| part.depth).max().unwrap_or(0)
}

fn too_deep(position: usize) -> ExpressionError {
    ExpressionError::new(position, format!("nested more than {MAX_DEPTH} levels deep"))
}

/// Moves the tree out from behind the reference that the loop holds.
fn take(syntax: &mut Syntax) -> Syntax {
    std::mem::replace(syntax, Syntax { position: 0, depth: 0, form: Form::Nil })
}
