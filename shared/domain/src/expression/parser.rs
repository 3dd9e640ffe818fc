//! Tokens to a syntax tree, by binding powers (Pratt). Types are not known yet.
//!
//! Powers and associativity are those of Gorse's language: from loose to tight `|`, `or`, `and`, comparisons with
//! `in` and the text tests, `+ -`, `not !`, `* / %`, sign, `**`, `??`; a conditional is looser than all of them.
//! Both the recursion of the parser and the depth of the tree are limited, so that no text can exhaust the stack
//! here or in anything that walks the tree later.

use super::ExpressionError;
use super::lexer::{LexicalToken, tokens};

/// Longest expression, in bytes.
const MAX_LENGTH: usize = 16 * 1024;
/// Deepest tree and deepest nesting of parentheses.
const MAX_DEPTH: usize = 100;

/// A piece of an expression and where it is.
#[derive(Debug)]
pub(super) struct SyntaxNode {
    pub(super) position: usize,
    depth: usize,
    pub(super) form: SyntaxForm,
}

/// What a piece is made of.
#[derive(Debug)]
pub(super) enum SyntaxForm {
    Nil,
    Bool(bool),
    Number(f64),
    Text(String),
    Name(String),
    /// `#`, the element that a predicate is asked about.
    Element,
    List(Vec<SyntaxNode>),
    Member {
        of: Box<SyntaxNode>,
        name: String,
        optional: bool,
    },
    Index {
        of: Box<SyntaxNode>,
        index: Box<SyntaxNode>,
        optional: bool,
    },
    Call {
        name: String,
        arguments: Vec<SyntaxNode>,
    },
    Method {
        of: Box<SyntaxNode>,
        name: String,
        arguments: Vec<SyntaxNode>,
        optional: bool,
    },
    Unary {
        operator: UnaryOperator,
        operand: Box<SyntaxNode>,
    },
    Binary {
        operator: BinaryOperator,
        left: Box<SyntaxNode>,
        right: Box<SyntaxNode>,
    },
    Conditional {
        condition: Box<SyntaxNode>,
        then: Box<SyntaxNode>,
        otherwise: Box<SyntaxNode>,
    },
    Let {
        name: String,
        value: Box<SyntaxNode>,
        body: Box<SyntaxNode>,
    },
}

/// Operators with one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnaryOperator {
    Not,
    Minus,
    Plus,
}

/// Operators with two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BinaryOperator {
    Or,
    And,
    Equal,
    NotEqual,
    Order(OrderOperator),
    In,
    Test(TextTest),
    Arithmetic(ArithmeticOperator),
    Coalesce,
}

/// Operators that need an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OrderOperator {
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
pub(super) enum ArithmeticOperator {
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
fn infix(token: &LexicalToken<'_>) -> Option<(BinaryOperator, u8)> {
    let (LexicalToken::Symbol(spelling) | LexicalToken::Name(spelling)) = token else { return None };
    Some(match *spelling {
        "or" | "||" => (BinaryOperator::Or, 10),
        "and" | "&&" => (BinaryOperator::And, 15),
        "==" => (BinaryOperator::Equal, 20),
        "!=" => (BinaryOperator::NotEqual, 20),
        "<" => (BinaryOperator::Order(OrderOperator::Less), 20),
        "<=" => (BinaryOperator::Order(OrderOperator::LessOrEqual), 20),
        ">" => (BinaryOperator::Order(OrderOperator::Greater), 20),
        ">=" => (BinaryOperator::Order(OrderOperator::GreaterOrEqual), 20),
        "in" => (BinaryOperator::In, 20),
        "contains" => (BinaryOperator::Test(TextTest::Contains), 20),
        "startsWith" => (BinaryOperator::Test(TextTest::StartsWith), 20),
        "endsWith" => (BinaryOperator::Test(TextTest::EndsWith), 20),
        "+" => (BinaryOperator::Arithmetic(ArithmeticOperator::Add), 30),
        "-" => (BinaryOperator::Arithmetic(ArithmeticOperator::Subtract), 30),
        "*" => (BinaryOperator::Arithmetic(ArithmeticOperator::Multiply), 60),
        "/" => (BinaryOperator::Arithmetic(ArithmeticOperator::Divide), 60),
        "%" => (BinaryOperator::Arithmetic(ArithmeticOperator::Remainder), 60),
        "**" | "^" => (BinaryOperator::Arithmetic(ArithmeticOperator::Power), 100),
        "??" => (BinaryOperator::Coalesce, 120),
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
pub(super) fn parse(text: &str) -> Result<SyntaxNode, ExpressionError> {
    if text.len() > MAX_LENGTH {
        let message = format!("an expression may have {MAX_LENGTH} bytes, this one has {}", text.len());
        return Err(ExpressionError::new(MAX_LENGTH, message));
    }
    let mut parser = ExpressionParser { tokens: tokens(text)?, next: 0, nesting: 0 };
    let syntax = parser.sequence()?;
    if *parser.peek() == LexicalToken::End {
        Ok(syntax)
    } else {
        Err(parser.unexpected("an operator or the end"))
    }
}

struct ExpressionParser<'a> {
    tokens: Vec<(usize, LexicalToken<'a>)>,
    next: usize,
    nesting: usize,
}

impl<'a> ExpressionParser<'a> {
    fn peek(&self) -> &LexicalToken<'a> {
        self.ahead(0)
    }

    /// The last token is the end and stays the next for ever.
    fn ahead(&self, count: usize) -> &LexicalToken<'a> {
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
        matches!(self.peek(), LexicalToken::Symbol(found) | LexicalToken::Name(found) if *found == spelling)
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
            LexicalToken::Number(number) => format!("`{number}`"),
            LexicalToken::Text(text) => format!("the text {text:?}"),
            LexicalToken::Name("matches") => "`matches`, which is not supported".to_owned(),
            LexicalToken::Name(spelling) => format!("`{spelling}`"),
            LexicalToken::Symbol(spelling) => format!("`{spelling}`"),
            LexicalToken::End => "the end".to_owned(),
        };
        ExpressionError::new(self.position(), format!("expected {expected}, found {found}"))
    }

    fn name(&mut self, expected: &str) -> Result<String, ExpressionError> {
        match *self.peek() {
            LexicalToken::Name(name) => {
                self.advance();
                Ok(name.to_owned())
            }
            LexicalToken::Number(_) | LexicalToken::Text(_) | LexicalToken::Symbol(_) | LexicalToken::End => {
                Err(self.unexpected(expected))
            }
        }
    }

    fn node(&self, position: usize, form: SyntaxForm) -> Result<SyntaxNode, ExpressionError> {
        let deepest = match &form {
            SyntaxForm::Nil
            | SyntaxForm::Bool(_)
            | SyntaxForm::Number(_)
            | SyntaxForm::Text(_)
            | SyntaxForm::Name(_)
            | SyntaxForm::Element => 0,
            SyntaxForm::List(parts) | SyntaxForm::Call { arguments: parts, .. } => deepest(parts),
            SyntaxForm::Member { of, .. } => of.depth,
            SyntaxForm::Method { of, arguments, .. } => of.depth.max(deepest(arguments)),
            SyntaxForm::Unary { operand, .. } => operand.depth,
            SyntaxForm::Index { of: left, index: right, .. }
            | SyntaxForm::Binary { left, right, .. }
            | SyntaxForm::Let { value: left, body: right, .. } => left.depth.max(right.depth),
            SyntaxForm::Conditional { condition, then, otherwise } => {
                condition.depth.max(then.depth).max(otherwise.depth)
            }
        };
        if deepest >= MAX_DEPTH {
            return Err(too_deep(position));
        }
        Ok(SyntaxNode { position, depth: deepest + 1, form })
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
    fn sequence(&mut self) -> Result<SyntaxNode, ExpressionError> {
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
        self.node(position, SyntaxForm::Let { name, value, body })
    }

    /// Whatever binds at least as tightly as `lowest`.
    fn expression(&mut self, lowest: u8) -> Result<SyntaxNode, ExpressionError> {
        self.nested(|parser| {
            let mut left = parser.prefix()?;
            while let Some(joined) = parser.infix_or_pipe(&mut left, lowest)? {
                left = joined;
            }
            if lowest == 0 && parser.is_at("?") { parser.conditional(left) } else { Ok(left) }
        })
    }

    /// Takes the next operator and its right side, if it binds tightly enough.
    fn infix_or_pipe(
        &mut self,
        left: &mut SyntaxNode,
        lowest: u8,
    ) -> Result<Option<SyntaxNode>, ExpressionError> {
        let position = self.position();
        let negated = self.is_at("not")
            && matches!(self.ahead(1), LexicalToken::Name("in" | "contains" | "startsWith" | "endsWith"));
        let Some((operator, power)) = infix(self.ahead(usize::from(negated))) else {
            return if lowest == 0 && self.eat("|") { self.pipe(take(left)).map(Some) } else { Ok(None) };
        };
        if power < lowest {
            return Ok(None);
        }
        self.next += 1 + usize::from(negated);
        let right_power =
            if operator == BinaryOperator::Arithmetic(ArithmeticOperator::Power) { power } else { power + 1 };
        let right = Box::new(self.expression(right_power)?);
        let joined =
            self.node(position, SyntaxForm::Binary { operator, left: Box::new(take(left)), right })?;
        if !negated {
            return Ok(Some(joined));
        }
        self.node(position, SyntaxForm::Unary { operator: UnaryOperator::Not, operand: Box::new(joined) })
            .map(Some)
    }

    /// `left | name(more)` is `name(left, more)`.
    fn pipe(&mut self, left: SyntaxNode) -> Result<SyntaxNode, ExpressionError> {
        let position = self.position();
        let name = self.name("the name of a function")?;
        self.expect("(")?;
        let mut arguments = vec![left];
        arguments.extend(self.arguments()?);
        let call = self.node(position, SyntaxForm::Call { name, arguments })?;
        self.postfix(call)
    }

    fn conditional(&mut self, condition: SyntaxNode) -> Result<SyntaxNode, ExpressionError> {
        let position = self.position();
        self.expect("?")?;
        let condition = Box::new(condition);
        let then = Box::new(self.expression(0)?);
        self.expect(":")?;
        let otherwise = Box::new(self.expression(0)?);
        self.node(position, SyntaxForm::Conditional { condition, then, otherwise })
    }

    fn prefix(&mut self) -> Result<SyntaxNode, ExpressionError> {
        let position = self.position();
        let (operator, power) = match self.peek() {
            LexicalToken::Symbol("!") | LexicalToken::Name("not") => (UnaryOperator::Not, NOT_POWER),
            LexicalToken::Symbol("-") => (UnaryOperator::Minus, SIGN_POWER),
            LexicalToken::Symbol("+") => (UnaryOperator::Plus, SIGN_POWER),
            LexicalToken::Number(_)
            | LexicalToken::Text(_)
            | LexicalToken::Name(_)
            | LexicalToken::Symbol(_)
            | LexicalToken::End => {
                let operand = self.operand()?;
                return self.postfix(operand);
            }
        };
        self.advance();
        let operand = Box::new(self.expression(power)?);
        self.node(position, SyntaxForm::Unary { operator, operand })
    }

    fn operand(&mut self) -> Result<SyntaxNode, ExpressionError> {
        let position = self.position();
        let token = self.peek().clone();
        match token {
            LexicalToken::Number(number) => self.leaf(SyntaxForm::Number(number)),
            LexicalToken::Text(text) => self.leaf(SyntaxForm::Text(text)),
            LexicalToken::Name("true") => self.leaf(SyntaxForm::Bool(true)),
            LexicalToken::Name("false") => self.leaf(SyntaxForm::Bool(false)),
            LexicalToken::Name("nil" | "null") => self.leaf(SyntaxForm::Nil),
            LexicalToken::Name(name) if !KEYWORDS.contains(&name) => {
                self.advance();
                if !self.eat("(") {
                    return self.node(position, SyntaxForm::Name(name.to_owned()));
                }
                let arguments = self.arguments()?;
                self.node(position, SyntaxForm::Call { name: name.to_owned(), arguments })
            }
            LexicalToken::Symbol("#") => self.leaf(SyntaxForm::Element),
            // `.RecordField` is `#.RecordField`; the dot is left for the postfix.
            LexicalToken::Symbol(".") => self.node(position, SyntaxForm::Element),
            LexicalToken::Symbol("(") => {
                self.advance();
                let inner = self.nested(Self::sequence)?;
                self.expect(")")?;
                Ok(inner)
            }
            LexicalToken::Symbol("[") => {
                self.advance();
                let parts = self.separated("]")?;
                self.node(position, SyntaxForm::List(parts))
            }
            LexicalToken::Name(_) | LexicalToken::Symbol(_) | LexicalToken::End => {
                Err(self.unexpected("a value"))
            }
        }
    }

    fn leaf(&mut self, form: SyntaxForm) -> Result<SyntaxNode, ExpressionError> {
        let position = self.position();
        self.advance();
        self.node(position, form)
    }

    /// Members, methods and indexes behind an operand. Behind a `?.` the whole rest of the chain is optional.
    fn postfix(&mut self, operand: SyntaxNode) -> Result<SyntaxNode, ExpressionError> {
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
                chain = self.node(position, SyntaxForm::Index { of: Box::new(chain), index, optional })?;
            } else {
                return Ok(chain);
            }
        }
    }

    fn member(&mut self, of: SyntaxNode, optional: bool) -> Result<SyntaxNode, ExpressionError> {
        let position = self.position();
        let name = self.name("the name of a field or method")?;
        let of = Box::new(of);
        if !self.eat("(") {
            return self.node(position, SyntaxForm::Member { of, name, optional });
        }
        let arguments = self.arguments()?;
        self.node(position, SyntaxForm::Method { of, name, arguments, optional })
    }

    /// Arguments up to and with the closing parenthesis.
    fn arguments(&mut self) -> Result<Vec<SyntaxNode>, ExpressionError> {
        self.separated(")")
    }

    fn separated(&mut self, end: &str) -> Result<Vec<SyntaxNode>, ExpressionError> {
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

fn deepest(parts: &[SyntaxNode]) -> usize {
    parts.iter().map(|part| part.depth).max().unwrap_or(0)
}

fn too_deep(position: usize) -> ExpressionError {
    ExpressionError::new(position, format!("nested more than {MAX_DEPTH} levels deep"))
}

/// Moves the tree out from behind the reference that the loop holds.
fn take(syntax: &mut SyntaxNode) -> SyntaxNode {
    std::mem::replace(syntax, SyntaxNode { position: 0, depth: 0, form: SyntaxForm::Nil })
}
