//! SyntaxNode tree to checked tree: every name is resolved, every type that can be known is known, what is constant
//! is computed. What passes here can still fail on labels, whose types nobody knows, but never on a misspelt name.

use super::date_method::METHODS;
use super::evaluate::{Evaluator, ExpressionNode};
use super::field::{ITEM_FIELDS, ROW_FIELDS, RecordField, USER_FIELDS};
use super::function::{BuiltinFunction, FUNCTIONS, ListPredicate, SCANS};
use super::operator_type::{result_type, spelling};
use super::parser::{BinaryOperator, SyntaxForm, SyntaxNode, UnaryOperator};
use super::value::{Value, ValueType};
use super::{ExpressionError, ExpressionScope};

/// A checked tree and its type.
type CheckedNode = (ExpressionNode, ValueType);

/// Checks a whole expression.
pub(super) fn check(
    syntax: &SyntaxNode,
    scope: ExpressionScope,
) -> Result<(ExpressionNode, ValueType), ExpressionError> {
    TypeChecker { scope, elements: Vec::new(), locals: Vec::new() }.check(syntax)
}

struct TypeChecker {
    scope: ExpressionScope,
    /// Types of `#`, the innermost last.
    elements: Vec<ValueType>,
    /// Names bound by `let`, the innermost last; their place is where evaluation finds them.
    locals: Vec<(String, ValueType)>,
}

impl TypeChecker {
    fn check(&mut self, syntax: &SyntaxNode) -> Result<CheckedNode, ExpressionError> {
        let at = syntax.position;
        match &syntax.form {
            SyntaxForm::Nil => Ok((ExpressionNode::Constant(Value::Nil), ValueType::Nil)),
            SyntaxForm::Bool(truth) => Ok((ExpressionNode::Constant(Value::Bool(*truth)), ValueType::Bool)),
            SyntaxForm::Number(number) => {
                Ok((ExpressionNode::Constant(Value::Number(*number)), ValueType::Number))
            }
            SyntaxForm::Text(text) => {
                Ok((ExpressionNode::Constant(Value::Text(text.clone().into())), ValueType::Text))
            }
            SyntaxForm::Name(name) => self.name(at, name),
            SyntaxForm::Element => match self.elements.last() {
                Some(element) => Ok((ExpressionNode::Element, element.clone())),
                None => Err(ExpressionError::new(
                    at,
                    "`#` and `.RecordField` mean an element, only inside a predicate",
                )),
            },
            SyntaxForm::List(parts) => self.list(parts),
            SyntaxForm::Member { of, name, optional } => self.member(at, of, name, *optional),
            SyntaxForm::Index { of, index, optional } => self.index(of, index, *optional),
            SyntaxForm::Call { name, arguments } => self.call(at, name, arguments),
            SyntaxForm::Method { of, name, arguments, optional } => {
                let of = self.check(of)?;
                self.method(at, of, (name, *optional), arguments)
            }
            SyntaxForm::Unary { operator, operand } => self.unary(at, *operator, operand),
            SyntaxForm::Binary { operator, left, right } => self.binary(at, *operator, left, right),
            SyntaxForm::Conditional { condition, then, otherwise } => {
                let condition = self.of_type(condition, &ValueType::Bool, "a condition must be")?;
                let (then, left) = self.check(then)?;
                let (otherwise, right) = self.check(otherwise)?;
                let merged = if left == right { left } else { ValueType::Any };
                Ok((ExpressionNode::Conditional(Box::new([condition, then, otherwise])), merged))
            }
            SyntaxForm::Let { name, value, body } => {
                let (value, found) = self.check(value)?;
                self.locals.push((name.clone(), found));
                let body = self.check(body);
                self.locals.pop();
                let (body, found) = body?;
                Ok((ExpressionNode::Let(Box::new([value, body])), found))
            }
        }
    }

    fn name(&self, at: usize, name: &str) -> Result<CheckedNode, ExpressionError> {
        if let Some(place) = self.locals.iter().rposition(|(local, _type)| local == name) {
            return Ok((ExpressionNode::Local(place), self.locals[place].1.clone()));
        }
        match (name, self.scope) {
            ("item", ExpressionScope::Item | ExpressionScope::ItemWithFeedback) => {
                Ok((ExpressionNode::Item, ValueType::Item))
            }
            ("user", ExpressionScope::User) => Ok((ExpressionNode::User, ValueType::User)),
            ("feedback", ExpressionScope::ItemWithFeedback) => {
                Ok((ExpressionNode::Feedback, ValueType::list(ValueType::Row)))
            }
            (_, _) => {
                let known = match self.scope {
                    ExpressionScope::Item => "item",
                    ExpressionScope::User => "user",
                    ExpressionScope::ItemWithFeedback => "item, feedback",
                };
                Err(ExpressionError::new(at, format!("unknown variable `{name}`; known: {known}")))
            }
        }
    }

    /// Checks a part that must have a certain type.
    fn of_type(
        &mut self,
        syntax: &SyntaxNode,
        wanted: &ValueType,
        what: &str,
    ) -> Result<ExpressionNode, ExpressionError> {
        let (node, found) = self.check(syntax)?;
        if found.fits(wanted) {
            return Ok(node);
        }
        Err(ExpressionError::new(syntax.position, format!("{what} {wanted}, found {found}")))
    }

    fn list(&mut self, parts: &[SyntaxNode]) -> Result<CheckedNode, ExpressionError> {
        let mut nodes = Vec::new();
        let mut merged: Option<ValueType> = None;
        for part in parts {
            let (node, found) = self.check(part)?;
            merged = Some(match merged {
                None => found,
                Some(before) if before == found => found,
                Some(_) => ValueType::Any,
            });
            nodes.push(node);
        }
        let constant = nodes.iter().all(is_constant);
        Ok((folded(ExpressionNode::List(nodes), constant), ValueType::list(merged.unwrap_or(ValueType::Any))))
    }

    fn member(
        &mut self,
        at: usize,
        of: &SyntaxNode,
        name: &str,
        optional: bool,
    ) -> Result<CheckedNode, ExpressionError> {
        let (of, owner) = self.check(of)?;
        let fields = match &owner {
            ValueType::Item => ITEM_FIELDS,
            ValueType::User => USER_FIELDS,
            ValueType::Row => ROW_FIELDS,
            ValueType::Any => {
                return Ok((
                    ExpressionNode::Member { of: Box::new(of), name: name.into(), optional },
                    ValueType::Any,
                ));
            }
            ValueType::Nil
            | ValueType::Bool
            | ValueType::Number
            | ValueType::Text
            | ValueType::Time
            | ValueType::Duration
            | ValueType::List(_) => {
                let is_method = METHODS.iter().any(|method| method.0 == name && method.2 == owner);
                let hint = if is_method { format!("; write `.{name}()`") } else { String::new() };
                return Err(ExpressionError::new(at, format!("{owner} has no field `{name}`{hint}")));
            }
        };
        let Some(field) = RecordField::find(fields, name) else {
            let known: Vec<&str> = fields.iter().map(|field| field.name()).collect();
            let message = format!("{owner} has no field `{name}`; known: {}", known.join(", "));
            return Err(ExpressionError::new(at, message));
        };
        let node = if matches!(of, ExpressionNode::Item) {
            Some(ExpressionNode::ItemField(field))
        } else if matches!(of, ExpressionNode::User) {
            Some(ExpressionNode::UserField(field))
        } else {
            matches!(of, ExpressionNode::Element).then_some(ExpressionNode::ElementField(field))
        };
        Ok((
            node.unwrap_or_else(|| ExpressionNode::Member { of: Box::new(of), name: name.into(), optional }),
            field.type_of(),
        ))
    }

    fn index(
        &mut self,
        of: &SyntaxNode,
        index: &SyntaxNode,
        optional: bool,
    ) -> Result<CheckedNode, ExpressionError> {
        let at = of.position;
        let (of, owner) = self.check(of)?;
        let (element, wanted) = match &owner {
            ValueType::List(element) => ((**element).clone(), ValueType::Number),
            ValueType::Any => (ValueType::Any, ValueType::Any),
            ValueType::Nil
            | ValueType::Bool
            | ValueType::Number
            | ValueType::Text
            | ValueType::Time
            | ValueType::Duration => {
                return Err(ExpressionError::new(at, format!("{owner} has no elements")));
            }
            ValueType::Row | ValueType::Item | ValueType::User => {
                return Err(ExpressionError::new(at, format!("{owner} has fields, read with a dot")));
            }
        };
        let index = self.of_type(index, &wanted, "an index must be")?;
        Ok((ExpressionNode::Index { operands: Box::new([of, index]), optional }, element))
    }

    fn unary(
        &mut self,
        at: usize,
        operator: UnaryOperator,
        operand: &SyntaxNode,
    ) -> Result<CheckedNode, ExpressionError> {
        let (node, found) = self.check(operand)?;
        let constant = is_constant(&node);
        let fits = |wanted: &[ValueType]| wanted.iter().any(|wanted| found.fits(wanted));
        match operator {
            UnaryOperator::Not if fits(&[ValueType::Bool]) => {
                Ok((folded(ExpressionNode::Not(Box::new(node)), constant), ValueType::Bool))
            }
            UnaryOperator::Not => {
                let message = format!(
                    "`not` needs a bool, found {found}; it binds tightly, `not (a > b)` needs parentheses"
                );
                Err(ExpressionError::new(at, message))
            }
            UnaryOperator::Minus if fits(&[ValueType::Number, ValueType::Duration]) => {
                Ok((folded(ExpressionNode::Negate(Box::new(node)), constant), found))
            }
            UnaryOperator::Plus if fits(&[ValueType::Number, ValueType::Duration]) => Ok((node, found)),
            UnaryOperator::Minus | UnaryOperator::Plus => {
                Err(ExpressionError::new(at, format!("a sign needs a number or a duration, found {found}")))
            }
        }
    }

    fn binary(
        &mut self,
        at: usize,
        operator: BinaryOperator,
        left: &SyntaxNode,
        right: &SyntaxNode,
    ) -> Result<CheckedNode, ExpressionError> {
        let (left, left_type) = self.check(left)?;
        let (right, right_type) = self.check(right)?;
        let Some(result) = result_type(operator, &left_type, &right_type) else {
            let message = format!("`{}` does not apply to {left_type} and {right_type}", spelling(operator));
            return Err(ExpressionError::new(at, message));
        };
        let constant = is_constant(&left) && is_constant(&right);
        let node = match (operator, left, right) {
            (
                BinaryOperator::Equal | BinaryOperator::NotEqual,
                ExpressionNode::ElementField(field),
                ExpressionNode::Constant(Value::Text(text)),
            ) if field.type_of() == ValueType::Text && self.elements.last() == Some(&ValueType::Row) => {
                let text = Box::from(text.as_ref());
                return Ok((
                    ExpressionNode::ElementTextIs { field, text, wanted: operator == BinaryOperator::Equal },
                    result,
                ));
            }
            (operator, left, right) => ExpressionNode::Binary { operator, operands: Box::new([left, right]) },
        };
        Ok((folded(node, constant), result))
    }

    fn call(
        &mut self,
        at: usize,
        name: &str,
        arguments: &[SyntaxNode],
    ) -> Result<CheckedNode, ExpressionError> {
        if name == "now" {
            return if arguments.is_empty() {
                Ok((ExpressionNode::Now, ValueType::Time))
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
        let (nodes, types): (Vec<ExpressionNode>, Vec<ValueType>) = arguments
            .iter()
            .map(|argument| self.check(argument))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .unzip();
        let result = function
            .result(&types)
            .map_err(|message| ExpressionError::new(arguments[0].position, format!("{name}(): {message}")))?;
        let constant = nodes.iter().all(is_constant);
        let node = folded(ExpressionNode::Call { function: *function, arguments: nodes }, constant);
        let unreadable = constant
            && matches!(function, BuiltinFunction::Date | BuiltinFunction::Duration)
            && !is_constant(&node);
        if unreadable {
            let message = format!("{name}() cannot read this text");
            return Err(ExpressionError::new(arguments[0].position, message));
        }
        Ok((node, result))
    }

    fn scan(
        &mut self,
        at: usize,
        (name, scan): (&str, ListPredicate),
        needs_predicate: bool,
        arguments: &[SyntaxNode],
    ) -> Result<CheckedNode, ExpressionError> {
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
            ListPredicate::Map => ValueType::Any,
            ListPredicate::Sum => ValueType::Number,
            ListPredicate::Count
            | ListPredicate::Filter
            | ListPredicate::Any
            | ListPredicate::All
            | ListPredicate::One
            | ListPredicate::None
            | ListPredicate::Find => ValueType::Bool,
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
            ListPredicate::Map => ValueType::list(given),
            ListPredicate::Filter => ValueType::list(element),
            ListPredicate::Find => ValueType::Any,
            ListPredicate::Count | ListPredicate::Sum => ValueType::Number,
            ListPredicate::Any | ListPredicate::All | ListPredicate::One | ListPredicate::None => {
                ValueType::Bool
            }
        };
        Ok((ExpressionNode::Scan { scan, list: Box::new(list), predicate }, result))
    }

    fn method(
        &mut self,
        at: usize,
        (of, owner): CheckedNode,
        (name, optional): (&str, bool),
        arguments: &[SyntaxNode],
    ) -> Result<CheckedNode, ExpressionError> {
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
        let result = if optional { ValueType::Any } else { result.clone() };
        Ok((ExpressionNode::Method { method: *method, of: Box::new(of), argument, optional }, result))
    }
}

fn is_constant(node: &ExpressionNode) -> bool {
    matches!(node, ExpressionNode::Constant(_))
}

/// Computes a node whose parts are constant. What fails is left as it is and fails when evaluated.
fn folded(node: ExpressionNode, constant: bool) -> ExpressionNode {
    if !constant {
        return node;
    }
    let computed = Evaluator::of_constants().value(&node).ok().and_then(Value::into_constant);

    match computed {
        Some(value) => ExpressionNode::Constant(value),
        None => node,
    }
}
