//! Syntax tree to checked tree: every name is resolved, every type that can be known is known, what is constant
//! is computed. What passes here can still fail on labels, whose types nobody knows, but never on a misspelt name.

use super::evaluate::{Evaluator, Node};
use super::field::{Field, ITEM_FIELDS, ROW_FIELDS, USER_FIELDS};
use super::function::{FUNCTIONS, Function, METHODS, SCANS, Scan};
use super::parser::{Arithmetic, Binary, Form, Order, Syntax, TextTest, Unary};
use super::value::{Type, Value};
use super::{ExpressionError, Scope};

/// A checked tree and its type.
type Checked = (Node, Type);

/// Checks a whole expression.
pub(super) fn check(syntax: &Syntax, scope: Scope) -> Result<(Node, Type), ExpressionError> {
    Checker { scope, elements: Vec::new(), locals: Vec::new() }.check(syntax)
}

struct Checker {
    scope: Scope,
    /// Types of `#`, the innermost last.
    elements: Vec<Type>,
    /// Names bound by `let`, the innermost last; their place is where evaluation finds them.
    locals: Vec<(String, Type)>,
}

impl Checker {
    fn check(&mut self, syntax: &Syntax) -> Result<Checked, ExpressionError> {
        let at = syntax.position;
        match &syntax.form {
            Form::Nil => Ok((Node::Constant(Value::Nil), Type::Nil)),
            Form::Bool(truth) => Ok((Node::Constant(Value::Bool(*truth)), Type::Bool)),
            Form::Number(number) => Ok((Node::Constant(Value::Number(*number)), Type::Number)),
            Form::Text(text) => Ok((Node::Constant(Value::Text(text.clone().into())), Type::Text)),
            Form::Name(name) => self.name(at, name),
            Form::Element => match self.elements.last() {
                Some(element) => Ok((Node::Element, element.clone())),
                None => {
                    Err(ExpressionError::new(at, "`#` and `.Field` mean an element, only inside a predicate"))
                }
            },
            Form::List(parts) => self.list(parts),
            Form::Member { of, name, optional } => self.member(at, of, name, *optional),
            Form::Index { of, index, optional } => self.index(of, index, *optional),
            Form::Call { name, arguments } => self.call(at, name, arguments),
            Form::Method { of, name, arguments, optional } => {
                let of = self.check(of)?;
                self.method(at, of, (name, *optional), arguments)
            }
            Form::Unary { operator, operand } => self.unary(at, *operator, operand),
            Form::Binary { operator, left, right } => self.binary(at, *operator, left, right),
            Form::Conditional { condition, then, otherwise } => {
                let condition = self.of_type(condition, &Type::Bool, "a condition must be")?;
                let (then, left) = self.check(then)?;
                let (otherwise, right) = self.check(otherwise)?;
                let merged = if left == right { left } else { Type::Any };
                Ok((Node::Conditional(Box::new([condition, then, otherwise])), merged))
            }
            Form::Let { name, value, body } => {
                let (value, found) = self.check(value)?;
                self.locals.push((name.clone(), found));
                let body = self.check(body);
                self.locals.pop();
                let (body, found) = body?;
                Ok((Node::Let(Box::new([value, body])), found))
            }
        }
    }

    fn name(&self, at: usize, name: &str) -> Result<Checked, ExpressionError> {
        if let Some(place) = self.locals.iter().rposition(|(local, _type)| local == name) {
            return Ok((Node::Local(place), self.locals[place].1.clone()));
        }
        match (name, self.scope) {
            ("item", Scope::Item | Scope::ItemWithFeedback) => Ok((Node::Item, Type::Item)),
            ("user", Scope::User) => Ok((Node::User, Type::User)),
            ("feedback", Scope::ItemWithFeedback) => Ok((Node::Feedback, Type::list(Type::Row))),
            (_, _) => {
                let known = match self.scope {
                    Scope::Item => "item",
                    Scope::User => "user",
                    Scope::ItemWithFeedback => "item, feedback",
                };
                Err(ExpressionError::new(at, format!("unknown variable `{name}`; known: {known}")))
            }
        }
    }

    /// Checks a part that must have a certain type.
    fn of_type(&mut self, syntax: &Syntax, wanted: &Type, what: &str) -> Result<Node, ExpressionError> {
        let (node, found) = self.check(syntax)?;
        if found.fits(wanted) {
            return Ok(node);
        }
        Err(ExpressionError::new(syntax.position, format!("{what} {wanted}, found {found}")))
    }

    fn list(&mut self, parts: &[Syntax]) -> Result<Checked, ExpressionError> {
        let mut nodes = Vec::new();
        let mut merged: Option<Type> = None;
        for part in parts {
            let (node, found) = self.check(part)?;
            merged = Some(match merged {
                None => found,
                Some(before) if before == found => found,
                Some(_) => Type::Any,
            });
            nodes.push(node);
        }
        let constant = nodes.iter().all(is_constant);
        Ok((folded(Node::List(nodes), constant), Type::list(merged.unwrap_or(Type::Any))))
    }

    fn member(
        &mut self,
        at: usize,
        of: &Syntax,
        name: &str,
        optional: bool,
    ) -> Result<Checked, ExpressionError> {
        let (of, owner) = self.check(of)?;
        let fields = match &owner {
            Type::Item => ITEM_FIELDS,
            Type::User => USER_FIELDS,
            Type::Row => ROW_FIELDS,
            Type::Any => {
                return Ok((Node::Member { of: Box::new(of), name: name.into(), optional }, Type::Any));
            }
            Type::Nil
            | Type::Bool
            | Type::Number
            | Type::Text
            | Type::Time
            | Type::Duration
            | Type::List(_) => {
                let is_method = METHODS.iter().any(|method| method.0 == name && method.2 == owner);
                let hint = if is_method { format!("; write `.{name}()`") } else { String::new() };
                return Err(ExpressionError::new(at, format!("{owner} has no field `{name}`{hint}")));
            }
        };
        let Some(field) = Field::find(fields, name) else {
            let known: Vec<&str> = fields.iter().map(|field| field.name()).collect();
            let message = format!("{owner} has no field `{name}`; known: {}", known.join(", "));
            return Err(ExpressionError::new(at, message));
        };
        let node = if matches!(of, Node::Item) {
            Some(Node::ItemField(field))
        } else if matches!(of, Node::User) {
            Some(Node::UserField(field))
        } else {
            matches!(of, Node::Element).then_some(Node::ElementField(field))
        };
        Ok((
            node.unwrap_or_else(|| Node::Member { of: Box::new(of), name: name.into(), optional }),
            field.type_of(),
        ))
    }

    fn index(&mut self, of: &Syntax, index: &Syntax, optional: bool) -> Result<Checked, ExpressionError> {
        let at = of.position;
        let (of, owner) = self.check(of)?;
        let (element, wanted) = match &owner {
            Type::List(element) => ((**element).clone(), Type::Number),
            Type::Any => (Type::Any, Type::Any),
            Type::Nil | Type::Bool | Type::Number | Type::Text | Type::Time | Type::Duration => {
                return Err(ExpressionError::new(at, format!("{owner} has no elements")));
            }
            Type::Row | Type::Item | Type::User => {
                return Err(ExpressionError::new(at, format!("{owner} has fields, read with a dot")));
            }
        };
        let index = self.of_type(index, &wanted, "an index must be")?;
        Ok((Node::Index { operands: Box::new([of, index]), optional }, element))
    }

    fn unary(&mut self, at: usize, operator: Unary, operand: &Syntax) -> Result<Checked, ExpressionError> {
        let (node, found) = self.check(operand)?;
        let constant = is_constant(&node);
        let fits = |wanted: &[Type]| wanted.iter().any(|wanted| found.fits(wanted));
        match operator {
            Unary::Not if fits(&[Type::Bool]) => {
                Ok((folded(Node::Not(Box::new(node)), constant), Type::Bool))
            }
            Unary::Not => {
                let message = format!(
                    "`not` needs a bool, found {found}; it binds tightly, `not (a > b)` needs parentheses"
                );
                Err(ExpressionError::new(at, message))
            }
            Unary::Minus if fits(&[Type::Number, Type::Duration]) => {
                Ok((folded(Node::Negate(Box::new(node)), constant), found))
            }
            Unary::Plus if fits(&[Type::Number, Type::Duration]) => Ok((node, found)),
            Unary::Minus | Unary::Plus => {
                Err(ExpressionError::new(at, format!("a sign needs a number or a duration, found {found}")))
            }
        }
    }

    fn binary(
        &mut self,
        at: usize,
        operator: Binary,
        left: &Syntax,
        right: &Syntax,
    ) -> Result<Checked, ExpressionError> {
        let (left, left_type) = self.check(left)?;
        let (right, right_type) = self.check(right)?;
        let Some(result) = result_type(operator, &left_type, &right_type) else {
            let message = format!("`{}` does not apply to {left_type} and {right_type}", spelling(operator));
            return Err(ExpressionError::new(at, message));
        };
        let constant = is_constant(&left) && is_constant(&right);
        let node = match (operator, left, right) {
            (
                Binary::Equal | Binary::NotEqual,
                Node::ElementField(field),
                Node::Constant(Value::Text(text)),
            ) if field.type_of() == Type::Text && self.elements.last() == Some(&Type::Row) => {
                let text = Box::from(text.as_ref());
                return Ok((Node::ElementTextIs { field, text, wanted: operator == Binary::Equal }, result));
            }
            (operator, left, right) => Node::Binary { operator, operands: Box::new([left, right]) },
        };
        Ok((folded(node, constant), result))
    }

    fn call(&mut self, at: usize, name: &str, arguments: &[Syntax]) -> Result<Checked, ExpressionError> {
        if name == "now" {
            return if arguments.is_empty() {
                Ok((Node::Now, Type::Time))
            } else {
                Err(ExpressionError::new(at, "now() takes no arguments"))
            };
        }
        if let Some((_name, scan, needs_predicate)) = SCANS.iter().find(|entry| entry.0 == name) {
            return self.scan(at, (name, *scan), *needs_predicate, arguments);
        }
        let Some((_name, function, fewest, most)) = FUNCTIONS.iter().find(|entry| entry.0 == name) else {
            let known: Vec<&str> =
                FUNCTIONS.iter().map(|entry| entry.0).chain(SCANS.iter().map(|entry| entry.0)).collect();
            let message = format!("unknown function `{name}`; known: now, {}", known.join(", "));
            return Err(ExpressionError::new(at, message));
        };
        if !(*fewest..=*most).contains(&arguments.len()) {
            let wanted = if fewest == most { fewest.to_string() } else { format!("{fewest} to {most}") };
            let message = format!("{name}() takes {wanted} arguments, found {}", arguments.len());
            return Err(ExpressionError::new(at, message));
        }
        let (nodes, types): (Vec<Node>, Vec<Type>) = arguments
            .iter()
            .map(|argument| self.check(argument))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .unzip();
        let result = function
            .result(&types)
            .map_err(|message| ExpressionError::new(arguments[0].position, format!("{name}(): {message}")))?;
        let constant = nodes.iter().all(is_constant);
        let node = folded(Node::Call { function: *function, arguments: nodes }, constant);
        let unreadable =
            constant && matches!(function, Function::Date | Function::Duration) && !is_constant(&node);
        if unreadable {
            let message = format!("{name}() cannot read this text");
            return Err(ExpressionError::new(arguments[0].position, message));
        }
        Ok((node, result))
    }

    fn scan(
        &mut self,
        at: usize,
        (name, scan): (&str, Scan),
        needs_predicate: bool,
        arguments: &[Syntax],
    ) -> Result<Checked, ExpressionError> {
        let (list, predicate) = match arguments {
            [list] if !needs_predicate => (list, None),
            [list, predicate] => (list, Some(predicate)),
            _ => {
                let message =
                    format!("{name}() takes a list and a predicate such as `.Value > 3` or `# > 3`");
                return Err(ExpressionError::new(at, message));
            }
        };
        let list_at = list.position;
        let (list, found) = self.check(list)?;
        let element = found
            .element()
            .ok_or_else(|| ExpressionError::new(list_at, format!("{name}() needs a list, found {found}")))?;
        let wanted = match scan {
            Scan::Map => Type::Any,
            Scan::Sum => Type::Number,
            Scan::Count | Scan::Filter | Scan::Any | Scan::All | Scan::One | Scan::None | Scan::Find => {
                Type::Bool
            }
        };
        let (predicate, given) = match predicate {
            Some(predicate) => {
                let predicate_at = predicate.position;
                self.elements.push(element.clone());
                let checked = self.check(predicate);
                self.elements.pop();
                let (node, given) = checked?;
                (Some((node, predicate_at)), given)
            }
            None => (None, element.clone()),
        };
        if !given.fits(&wanted) {
            let position = predicate.map_or(list_at, |(_node, position)| position);
            return Err(ExpressionError::new(
                position,
                format!("{name}() needs {wanted} per element, found {given}"),
            ));
        }
        let predicate = predicate.map(|(node, _position)| Box::new(node));
        let result = match scan {
            Scan::Map => Type::list(given),
            Scan::Filter => Type::list(element),
            Scan::Find => Type::Any,
            Scan::Count | Scan::Sum => Type::Number,
            Scan::Any | Scan::All | Scan::One | Scan::None => Type::Bool,
        };
        Ok((Node::Scan { scan, list: Box::new(list), predicate }, result))
    }

    fn method(
        &mut self,
        at: usize,
        (of, owner): Checked,
        (name, optional): (&str, bool),
        arguments: &[Syntax],
    ) -> Result<Checked, ExpressionError> {
        let found = METHODS.iter().find(|method| method.0 == name && owner.fits(&method.2));
        let Some((_name, method, _owner, wanted, result)) = found else {
            let known: Vec<&str> =
                METHODS.iter().filter(|method| owner.fits(&method.2)).map(|method| method.0).collect();
            let known =
                if known.is_empty() { String::new() } else { format!("; known: {}", known.join(", ")) };
            return Err(ExpressionError::new(at, format!("{owner} has no method `{name}`{known}")));
        };
        let argument = match (arguments, wanted) {
            ([], None) => None,
            ([argument], Some(wanted)) => {
                Some(Box::new(self.of_type(argument, wanted, &format!("{name}() takes"))?))
            }
            (_, None) => return Err(ExpressionError::new(at, format!("{name}() takes no arguments"))),
            (_, Some(wanted)) => return Err(ExpressionError::new(at, format!("{name}() takes {wanted}"))),
        };
        let result = if optional { Type::Any } else { result.clone() };
        Ok((Node::Method { method: *method, of: Box::new(of), argument, optional }, result))
    }
}

/// The type of `left operator right`; `None` if the operator does not apply.
fn result_type(operator: Binary, left: &Type, right: &Type) -> Option<Type> {
    match operator {
        Binary::Or | Binary::And => (left.fits(&Type::Bool) && right.fits(&Type::Bool)).then_some(Type::Bool),
        Binary::Equal | Binary::NotEqual => left.is_comparable_with(right).then_some(Type::Bool),
        Binary::Order(_) => (is_scalar(left) && is_scalar(right) && left.fits(right)).then_some(Type::Bool),
        Binary::In if *right == Type::Any => Some(Type::Bool),
        Binary::In => {
            let Type::List(element) = right else { return None };
            left.is_comparable_with(element).then_some(Type::Bool)
        }
        Binary::Test(_) => (left.fits(&Type::Text) && right.fits(&Type::Text)).then_some(Type::Bool),
        Binary::Coalesce => Some(match (left, right) {
            (Type::Nil, right) => right.clone(),
            (left, Type::Nil) => left.clone(),
            (left, right) if left == right => left.clone(),
            (_, _) => Type::Any,
        }),
        Binary::Arithmetic(operator) => arithmetic_type(operator, left, right),
    }
}

/// Whether a value of this type can be compared and computed with, as far as is known.
fn is_scalar(side: &Type) -> bool {
    matches!(side, Type::Number | Type::Text | Type::Time | Type::Duration | Type::Any)
}

fn arithmetic_type(operator: Arithmetic, left: &Type, right: &Type) -> Option<Type> {
    use Type::{Any, Duration, Number, Text, Time};
    match (operator, left, right) {
        (_, Number, Number) => Some(Number),
        (Arithmetic::Remainder | Arithmetic::Power, _, _) => {
            (left.fits(&Number) && right.fits(&Number)).then_some(Number)
        }
        (Arithmetic::Divide, Any, Any | Number) | (Arithmetic::Divide, Number, Any) => Some(Number),
        (_, Any, other) | (_, other, Any) => is_scalar(other).then_some(Any),
        (Arithmetic::Add, Text, Text) => Some(Text),
        (Arithmetic::Add, Time, Duration)
        | (Arithmetic::Add, Duration, Time)
        | (Arithmetic::Subtract, Time, Duration) => Some(Time),
        (Arithmetic::Subtract, Time, Time)
        | (Arithmetic::Add | Arithmetic::Subtract, Duration, Duration)
        | (Arithmetic::Multiply | Arithmetic::Divide, Duration, Number)
        | (Arithmetic::Multiply, Number, Duration) => Some(Duration),
        (Arithmetic::Divide, Duration, Duration) => Some(Number),
        (_, _, _) => None,
    }
}

fn spelling(operator: Binary) -> &'static str {
    match operator {
        Binary::Or => "or",
        Binary::And => "and",
        Binary::Equal => "==",
        Binary::NotEqual => "!=",
        Binary::Order(Order::Less) => "<",
        Binary::Order(Order::LessOrEqual) => "<=",
        Binary::Order(Order::Greater) => ">",
        Binary::Order(Order::GreaterOrEqual) => ">=",
        Binary::In => "in",
        Binary::Test(TextTest::Contains) => "contains",
        Binary::Test(TextTest::StartsWith) => "startsWith",
        Binary::Test(TextTest::EndsWith) => "endsWith",
        Binary::Arithmetic(Arithmetic::Add) => "+",
        Binary::Arithmetic(Arithmetic::Subtract) => "-",
        Binary::Arithmetic(Arithmetic::Multiply) => "*",
        Binary::Arithmetic(Arithmetic::Divide) => "/",
        Binary::Arithmetic(Arithmetic::Remainder) => "%",
        Binary::Arithmetic(Arithmetic::Power) => "**",
        Binary::Coalesce => "??",
    }
}

fn is_constant(node: &Node) -> bool {
    matches!(node, Node::Constant(_))
}

/// Computes a node whose parts are constant. What fails is left as it is and fails when evaluated.
fn folded(node: Node, constant: bool) -> Node {
    if !constant {
        return node;
    }
    let computed = Evaluator::of_constants().value(&node).ok().and_then(Value::into_constant);

    match computed {
        Some(value) => Node::Constant(value),
        None => node,
    }
}
