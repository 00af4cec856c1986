//! What an expression will come to, and what in it can never work.

use std::collections::BTreeMap;

use cel::common::ast::operators as op;
use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr,
};

use super::Expression;
use crate::template::Bad;
use crate::types::{Fields, Type};

/// Functions that cost no more than what they are given.
const FUNCTIONS: [(&str, Type); 24] = [
    ("size", Type::Integer),
    ("contains", Type::Bool),
    ("startsWith", Type::Bool),
    ("endsWith", Type::Bool),
    ("matches", Type::Bool),
    ("int", Type::Integer),
    ("uint", Type::Integer),
    ("double", Type::Number),
    ("string", Type::Text),
    ("bool", Type::Bool),
    ("dyn", Type::Any),
    ("type", Type::Any),
    ("charAt", Type::Text),
    ("indexOf", Type::Integer),
    ("lastIndexOf", Type::Integer),
    ("lowerAscii", Type::Text),
    ("upperAscii", Type::Text),
    ("substring", Type::Text),
    ("trim", Type::Text),
    ("split", Type::Any),
    ("join", Type::Text),
    ("reverse", Type::Any),
    (op::NOT_STRICTLY_FALSE, Type::Bool),
    (op::IN, Type::Bool),
];

impl Expression {
    /// The type of its value, and everything that can never work. `scope` has every name that there is.
    #[must_use]
    pub fn infer(&self, scope: &BTreeMap<String, Type>) -> (Type, Vec<Bad>) {
        let mut infer = Infer { of: self, scope, bound: Vec::new(), bad: Vec::new() };
        let found = infer.infer(self.program.expression());
        (found, infer.bad)
    }
}

struct Infer<'a> {
    of: &'a Expression,
    scope: &'a BTreeMap<String, Type>,
    bound: Vec<(String, Type)>,
    bad: Vec<Bad>,
}

impl Infer<'_> {
    fn wrong(&mut self, at: &IdedExpr, message: String) {
        self.bad.push(Bad { message, range: self.of.range_of(at) });
    }

    fn infer(&mut self, at: &IdedExpr) -> Type {
        match &at.expr {
            Expr::Unspecified => Type::Any,
            Expr::Literal(literal) => match literal {
                LiteralValue::Boolean(_) => Type::Bool,
                LiteralValue::Bytes(_) => Type::Any,
                LiteralValue::Double(_) => Type::Number,
                LiteralValue::Int(_) | LiteralValue::UInt(_) => Type::Integer,
                LiteralValue::Null => Type::Null,
                LiteralValue::String(_) => Type::Text,
            },
            Expr::Ident(name) => self.ident(at, name.trim_start_matches('.')),
            Expr::Select(select) => self.select(at, select),
            Expr::Call(call) => self.call(at, call),
            Expr::List(list) => {
                let items: Vec<Type> = list.elements.iter().map(|item| self.infer(item)).collect();
                Type::list(items.into_iter().reduce(Type::join).unwrap_or_default())
            }
            Expr::Map(map) => {
                let mut fields = Fields::default();
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else { continue };
                    self.infer(&entry.key);
                    let value = self.infer(&entry.value);
                    match &entry.key.expr {
                        Expr::Literal(LiteralValue::String(name)) => {
                            fields.known.insert(name.inner().to_owned(), value);
                        }
                        _ => fields.open = true,
                    }
                }
                Type::Object(fields)
            }
            Expr::Struct(object) => {
                self.wrong(at, format!("there is no type `{}`", object.type_name));
                Type::Any
            }
            Expr::Comprehension(inner) => self.comprehension(inner),
        }
    }

    fn ident(&mut self, at: &IdedExpr, name: &str) -> Type {
        let bound = self.bound.iter().rev().find(|(bound, _)| bound == name);
        if let Some(found) = bound.map(|(_, of)| of).or_else(|| self.scope.get(name)) {
            return found.clone();
        }
        if !["int", "uint", "double", "string", "bool", "list", "map", "null_type"].contains(&name)
        {
            self.wrong(at, format!("there is no `{name}` in the state"));
        }
        Type::Any
    }

    fn select(&mut self, at: &IdedExpr, select: &SelectExpr) -> Type {
        let operand = self.infer(&select.operand);
        let field = &select.field;
        let found = match &operand {
            Type::Any => Type::Any,
            Type::Object(fields) => match fields.known.get(field) {
                Some(found) => found.clone(),
                None if fields.open => Type::Any,
                None => {
                    let known: Vec<&str> = fields.known.keys().map(String::as_str).collect();
                    let known = known.join("`, `");
                    self.wrong(at, format!("there is no `{field}` here; there are `{known}`"));
                    Type::Any
                }
            },
            other => {
                self.wrong(at, format!("`{field}` is asked of {other}, which has no fields"));
                Type::Any
            }
        };
        if select.test { Type::Bool } else { found }
    }

    fn comprehension(&mut self, inner: &ComprehensionExpr) -> Type {
        let range = self.infer(&inner.iter_range);
        let item = match range {
            Type::List(item) => *item,
            Type::Object(_) => Type::Text,
            Type::Any => Type::Any,
            other => {
                self.wrong(&inner.iter_range, format!("{other} has no items to go through"));
                Type::Any
            }
        };
        let start = self.infer(&inner.accu_init);
        let outer = self.bound.len();
        self.bound.push((inner.iter_var.clone(), item));
        self.bound.extend(inner.iter_var2.clone().map(|name| (name, Type::Any)));
        self.bound.push((inner.accu_var.clone(), start));
        self.infer(&inner.loop_cond);
        self.infer(&inner.loop_step);
        let result = self.infer(&inner.result);
        self.bound.truncate(outer);
        result
    }

    fn call(&mut self, at: &IdedExpr, call: &CallExpr) -> Type {
        let target = call.target.as_deref();
        let arguments: Vec<Type> =
            target.into_iter().chain(&call.args).map(|inner| self.infer(inner)).collect();
        let name = call.func_name.as_str();
        match (name, arguments.as_slice()) {
            (op::LOGICAL_AND | op::LOGICAL_OR | op::LOGICAL_NOT, all) => {
                for (of, inner) in all.iter().zip(&call.args) {
                    if of.is_never(&Type::Bool) {
                        self.wrong(inner, format!("this is {of}, not true or false"));
                    }
                }
                Type::Bool
            }
            (op::EQUALS | op::NOT_EQUALS, [one, other]) => {
                self.equal(at, one, other);
                Type::Bool
            }
            (op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS, [one, other]) => {
                self.ordered(at, one, other);
                Type::Bool
            }
            (op::CONDITIONAL, [condition, one, other]) => {
                if condition.is_never(&Type::Bool) {
                    self.wrong(at, format!("the condition is {condition}, not true or false"));
                }
                one.clone().join(other.clone())
            }
            (op::ADD | op::SUBSTRACT | op::MULTIPLY | op::DIVIDE | op::MODULO, [one, other]) => {
                self.arithmetic(at, name, one, other)
            }
            (op::NEGATE, [one]) => one.clone(),
            (op::INDEX, [of, index]) => self.index(at, of, index),
            _ => match FUNCTIONS.iter().find(|(known, _)| *known == name) {
                Some((_, of)) => of.clone(),
                None => {
                    let known: Vec<&str> = FUNCTIONS.iter().map(|(known, _)| *known).collect();
                    let known = known.into_iter().filter(|known| !known.starts_with('@'));
                    let known = known.collect::<Vec<_>>().join(", ");
                    self.wrong(at, format!("there is no function `{name}`; there are {known}"));
                    Type::Any
                }
            },
        }
    }

    fn equal(&mut self, at: &IdedExpr, one: &Type, other: &Type) {
        let null = [one, other].contains(&&Type::Null);
        if !null && one.is_never(other) && other.is_never(one) {
            self.wrong(at, format!("{one} is never equal to {other}"));
        }
    }

    fn ordered(&mut self, at: &IdedExpr, one: &Type, other: &Type) {
        let sorts = |of: &Type| match of {
            Type::Any => 0,
            Type::Integer | Type::Number => 1,
            Type::Text => 2,
            Type::Bool => 3,
            Type::Null | Type::List(_) | Type::Object(_) => 4,
        };
        let (first, second) = (sorts(one), sorts(other));
        if first == 4 || second == 4 || (first != 0 && second != 0 && first != second) {
            self.wrong(at, format!("{one} and {other} have no order"));
        }
    }

    fn arithmetic(&mut self, at: &IdedExpr, name: &str, one: &Type, other: &Type) -> Type {
        match (one, other) {
            (Type::Any, Type::Any) => Type::Any,
            (Type::Integer, Type::Integer) => Type::Integer,
            (Type::Number, Type::Number) if name != op::MODULO => Type::Number,
            (Type::Text, Type::Text) if name == op::ADD => Type::Text,
            (Type::List(one), Type::List(other)) if name == op::ADD => {
                Type::list(one.as_ref().clone().join(other.as_ref().clone()))
            }
            (Type::Any, known) | (known, Type::Any) => match known {
                Type::Integer | Type::Number => Type::Any,
                Type::Text | Type::List(_) if name == op::ADD => known.clone(),
                _ => self.no_arithmetic(at, name, one, other),
            },
            (Type::Integer, Type::Number) | (Type::Number, Type::Integer) => {
                let message =
                    "a whole number and one with a fraction do not mix: write double(x) or 2.0";
                self.wrong(at, message.to_owned());
                Type::Number
            }
            _ => self.no_arithmetic(at, name, one, other),
        }
    }

    fn no_arithmetic(&mut self, at: &IdedExpr, name: &str, one: &Type, other: &Type) -> Type {
        let sign = name.trim_matches('_');
        self.wrong(at, format!("`{sign}` does not work with {one} and {other}"));
        Type::Any
    }

    fn index(&mut self, at: &IdedExpr, of: &Type, index: &Type) -> Type {
        match of {
            Type::Any => Type::Any,
            Type::List(inner) => {
                if index.is_never(&Type::Number) {
                    self.wrong(at, format!("a list is asked for {index}; count its items from 0"));
                }
                inner.as_ref().clone()
            }
            Type::Object(_) => Type::Any,
            other => {
                self.wrong(at, format!("{other} has no parts"));
                Type::Any
            }
        }
    }
}
