//! Runs functions of the library's source text over intervals. It knows as much of Rust as the
//! arithmetic over limbs uses, and fails on everything else.

use super::interval::{Interval, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use syn::punctuated::Punctuated;
use syn::{BinOp, Block, Expr, FnArg, Item, Lit, Member, Pat, Signature, Stmt, Type, UnOp};

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Number(Interval),
    Bool,
    /// All bits set or none.
    Mask,
    /// A number, or zero, by a mask.
    Selected(Interval),
    /// An array or a tuple.
    List(Vec<Value>),
    Struct(String, BTreeMap<String, Value>),
    Closure(Closure),
    /// Input, or what was made of it. As a number it is any 64 bits.
    Unknown,
}

#[derive(Clone)]
pub struct Closure(Rc<syn::ExprClosure>);

impl PartialEq for Closure {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Closure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a closure")
    }
}

impl Value {
    pub fn number(&self) -> Result<Interval> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Unknown => Ok(Interval::any()),
            other => Err(format!("{other:?} is no number")),
        }
    }

    pub fn list(&self) -> Result<&[Value]> {
        match self {
            Self::List(values) => Ok(values),
            other => Err(format!("{other:?} is no list")),
        }
    }

    pub fn field(&self, name: &str) -> Result<&Value> {
        match self {
            Self::Struct(_, fields) => fields.get(name).ok_or(format!("no field {name}")),
            other => Err(format!("{other:?} has no fields")),
        }
    }

    pub fn numbers(&self) -> Result<Vec<Interval>> {
        self.list()?.iter().map(Value::number).collect()
    }

    /// Every value that is one of either.
    pub fn join(&self, other: &Self) -> Result<Self> {
        Ok(match (self, other) {
            (same, other) if same == other => same.clone(),
            (Self::Number(a), Self::Number(b)) => Self::Number(a.join(*b)),
            (Self::List(a), Self::List(b)) if a.len() == b.len() => Self::List(
                a.iter()
                    .zip(b)
                    .map(|(a, b)| a.join(b))
                    .collect::<Result<_>>()?,
            ),
            (Self::Struct(name, a), Self::Struct(_, b)) => {
                let mut fields = BTreeMap::new();
                for ((field, a), b) in a.iter().zip(b.values()) {
                    fields.insert(field.clone(), a.join(b)?);
                }
                Self::Struct(name.clone(), fields)
            }
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (a, b) => return Err(format!("{a:?} and {b:?} have no common form")),
        })
    }
}

struct Function {
    signature: Signature,
    body: Block,
}

/// The functions and constants of some files.
#[derive(Default)]
pub struct Program {
    /// By type, or by "" for free functions, and name.
    functions: BTreeMap<(String, String), Function>,
    constants: BTreeMap<String, Expr>,
}

impl Program {
    pub fn add(&mut self, source: &str) {
        for item in syn::parse_file(source).expect("the source is Rust").items {
            match item {
                Item::Fn(function) => self.insert("", function.sig, *function.block),
                Item::Const(constant) => {
                    let name = constant.ident.to_string();
                    let before = self.constants.insert(name, *constant.expr);
                    assert!(before.is_none(), "two constants have one name");
                }
                Item::Impl(block) => {
                    let of = type_name(&block.self_ty);
                    for item in block.items {
                        if let syn::ImplItem::Fn(function) = item {
                            self.insert(&of, function.sig, function.block);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn insert(&mut self, of: &str, signature: Signature, body: Block) {
        let name = (of.to_owned(), signature.ident.to_string());
        let function = Function { signature, body };
        let before = self.functions.insert(name, function);
        assert!(before.is_none(), "two functions have one name");
    }

    /// Runs a function of a type, or a free one. Returns its result and `self` as it is afterwards.
    pub fn call(&self, of: &str, name: &str, arguments: &[Value]) -> Result<(Value, Value)> {
        let key = (of.to_owned(), name.to_owned());
        let function = self.functions.get(&key).ok_or(format!("no {of}::{name}"))?;
        let mut run = Run {
            program: self,
            of: of.to_owned(),
            variables: vec![BTreeMap::new()],
        };
        let inputs = &function.signature.inputs;
        if inputs.len() != arguments.len() {
            return Err(format!("{of}::{name} has {} parameters", inputs.len()));
        }
        for (input, argument) in inputs.iter().zip(arguments) {
            match input {
                FnArg::Receiver(_) => run.set("self", argument.clone()),
                FnArg::Typed(typed) => run.bind(&typed.pat, argument)?,
            }
        }
        let result = run
            .block(&function.body)
            .map_err(|error| format!("{name}: {error}"))?;
        Ok((result, run.get("self").unwrap_or(Value::Unknown)))
    }
}

fn type_name(of: &Type) -> String {
    match of {
        Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
        _ => None,
    }
    .unwrap_or_default()
}

struct Run<'a> {
    program: &'a Program,
    of: String,
    variables: Vec<BTreeMap<String, Value>>,
}

impl Run<'_> {
    fn get(&self, name: &str) -> Option<Value> {
        self.variables
            .iter()
            .rev()
            .find_map(|scope| scope.get(name))
            .cloned()
    }

    fn set(&mut self, name: &str, value: Value) {
        if let Some(scope) = self.variables.last_mut() {
            scope.insert(name.to_owned(), value);
        }
    }

    fn slot(&mut self, name: &str) -> Result<&mut Value> {
        let found = self
            .variables
            .iter_mut()
            .rev()
            .find_map(|scope| scope.get_mut(name));
        found.ok_or(format!("no variable {name}"))
    }

    fn bind(&mut self, pattern: &Pat, value: &Value) -> Result<()> {
        let parts = match pattern {
            Pat::Ident(name) => {
                self.set(&name.ident.to_string(), value.clone());
                return Ok(());
            }
            Pat::Wild(_) => return Ok(()),
            Pat::Type(typed) => return self.bind(&typed.pat, value),
            Pat::Reference(inner) => return self.bind(&inner.pat, value),
            Pat::Tuple(tuple) => &tuple.elems,
            Pat::Slice(slice) => &slice.elems,
            Pat::TupleStruct(tuple) => &tuple.elems,
            _ => return Err("a pattern that is not known".into()),
        };
        match value {
            Value::Unknown => {
                for part in parts {
                    self.bind(part, value)?;
                }
            }
            _ => {
                let values = value.list()?;
                if values.len() != parts.len() {
                    return Err("a pattern of another length".into());
                }
                for (part, value) in parts.iter().zip(values) {
                    self.bind(part, value)?;
                }
            }
        }
        Ok(())
    }

    fn block(&mut self, block: &Block) -> Result<Value> {
        self.variables.push(BTreeMap::new());
        let mut last = Value::Unknown;
        for statement in &block.stmts {
            last = Value::Unknown;
            match statement {
                Stmt::Local(local) => {
                    let init = local.init.as_ref().ok_or("a variable without a value")?;
                    let value = self.expression(&init.expr)?;
                    self.bind(&local.pat, &value)?;
                }
                Stmt::Expr(expression, semicolon) => {
                    let value = self.expression(expression)?;
                    if semicolon.is_none() {
                        last = value;
                    }
                }
                Stmt::Item(_) | Stmt::Macro(_) => return Err("an item in a function".into()),
            }
        }
        self.variables.pop();
        Ok(last)
    }

    fn all(&mut self, expressions: &Punctuated<Expr, syn::Token![,]>) -> Result<Vec<Value>> {
        expressions
            .iter()
            .map(|expression| self.expression(expression))
            .collect()
    }

    fn expression(&mut self, expression: &Expr) -> Result<Value> {
        Ok(match expression {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Int(number) => Value::Number(Interval::literal(
                    number.base10_parse().map_err(|error| error.to_string())?,
                )),
                _ => return Err("a literal that is no number".into()),
            },
            Expr::Paren(inner) => self.expression(&inner.expr)?,
            Expr::Group(inner) => self.expression(&inner.expr)?,
            Expr::Reference(inner) => self.expression(&inner.expr)?,
            Expr::Block(inner) => self.block(&inner.block)?,
            Expr::Range(_) => Value::Unknown,
            Expr::Closure(closure) => Value::Closure(Closure(Rc::new(closure.clone()))),
            Expr::Tuple(tuple) => Value::List(self.all(&tuple.elems)?),
            Expr::Array(array) => Value::List(self.all(&array.elems)?),
            Expr::Repeat(repeat) => {
                let value = self.expression(&repeat.expr)?;
                match self.expression(&repeat.len)?.number()?.constant() {
                    Some(len) => Value::List(vec![value; len as usize]),
                    None => return Err("an array of unknown length".into()),
                }
            }
            Expr::Struct(literal) => {
                let mut fields = BTreeMap::new();
                for field in &literal.fields {
                    let value = self.expression(&field.expr)?;
                    fields.insert(member(&field.member), value);
                }
                let name = match last_name(&literal.path) {
                    name if name == "Self" => self.of.clone(),
                    name => name,
                };
                Value::Struct(name, fields)
            }
            Expr::Path(path) => {
                let name = last_name(&path.path);
                match (self.get(&name), self.program.constants.get(&name)) {
                    (Some(value), _) => value,
                    (None, Some(constant)) => self.expression(constant)?,
                    _ => return Err(format!("{name} is not known")),
                }
            }
            Expr::Field(_) | Expr::Index(_) => self.part(expression)?,
            Expr::Unary(unary) => {
                let value = self.expression(&unary.expr)?;
                match (unary.op, value) {
                    (UnOp::Deref(_), value) => value,
                    (UnOp::Not(_), Value::Mask) => Value::Mask,
                    (UnOp::Not(_), value) => Value::Number(value.number()?.not()?),
                    _ => return Err("an operator that is not known".into()),
                }
            }
            Expr::Cast(cast) => {
                let value = self.expression(&cast.expr)?.number()?;
                let width = match type_name(&cast.ty).as_str() {
                    "u64" => 64,
                    "u128" => 128,
                    other => return Err(format!("a cast to {other}")),
                };
                Value::Number(value.cast(width)?)
            }
            // Bits that count lanes.
            Expr::Binary(binary) if matches!(binary.op, BinOp::BitOrAssign(_)) => {
                *self.place(&binary.left)? = Value::Unknown;
                Value::Unknown
            }
            Expr::Binary(binary) => {
                let left = self.expression(&binary.left)?;
                let right = self.expression(&binary.right)?;
                two(&binary.op, &left, &right)?
            }
            Expr::Assign(assign) => {
                let value = self.expression(&assign.right)?;
                *self.place(&assign.left)? = value;
                Value::Unknown
            }
            Expr::If(branch) => self.branch(branch)?,
            Expr::ForLoop(looped) => self.repeat(looped)?,
            Expr::Call(call) => {
                let Expr::Path(path) = &*call.func else {
                    return Err("a call of no name".into());
                };
                let arguments = self.all(&call.args)?;
                self.function(&path.path, &arguments)?
            }
            Expr::MethodCall(call) => self.method(call)?,
            _ => return Err("an expression that is not known".into()),
        })
    }

    /// Both branches, since no condition is known.
    fn branch(&mut self, branch: &syn::ExprIf) -> Result<Value> {
        let before = self.variables.clone();
        let then_value = if let Expr::Let(bound) = &*branch.cond {
            let value = self.expression(&bound.expr)?;
            self.variables.push(BTreeMap::new());
            self.bind(&bound.pat, &value)?;
            let value = self.block(&branch.then_branch)?;
            self.variables.pop();
            value
        } else {
            self.block(&branch.then_branch)?
        };
        let then = std::mem::replace(&mut self.variables, before);
        let value = match &branch.else_branch {
            Some((_, otherwise)) => then_value.join(&self.expression(otherwise)?)?,
            None => Value::Unknown,
        };
        self.join(&then)?;
        Ok(value)
    }

    fn join(&mut self, other: &[BTreeMap<String, Value>]) -> Result<()> {
        for (scope, other) in self.variables.iter_mut().zip(other) {
            for (name, value) in scope {
                *value = value.join(&other[name])?;
            }
        }
        Ok(())
    }

    /// A loop, any number of times: until nothing grows.
    fn repeat(&mut self, looped: &syn::ExprForLoop) -> Result<Value> {
        if let Some((place, others)) = self.pairs(&looped.expr)? {
            let Pat::Tuple(pair) = &*looped.pat else {
                return Err("a loop over pairs without a pair".into());
            };
            let (Pat::Ident(here), other) = (&pair.elems[0], &pair.elems[1]) else {
                return Err("a loop over pairs without a name".into());
            };
            let here = here.ident.to_string();
            for (at, value) in others.iter().enumerate() {
                self.variables.push(BTreeMap::new());
                let element = self.place(place)?.list()?[at].clone();
                self.set(&here, element);
                self.bind(other, value)?;
                self.block(&looped.body)?;
                let after = self.get(&here).ok_or("a variable is gone")?;
                self.variables.pop();
                if let Value::List(values) = self.place(place)? {
                    values[at] = after;
                }
            }
            return Ok(Value::Unknown);
        }
        if self.expression(&looped.expr)? != Value::Unknown {
            return Err("a loop over what is known".into());
        }
        for _ in 0..50 {
            let before = self.variables.clone();
            self.variables.push(BTreeMap::new());
            self.bind(&looped.pat, &Value::Unknown)?;
            self.block(&looped.body)?;
            self.variables.pop();
            self.join(&before)?;
            if self.variables == before {
                return Ok(Value::Unknown);
            }
        }
        Err("a loop never stops growing".into())
    }

    /// The operands of `place.iter_mut().zip(others)`, if both are known.
    fn pairs<'e>(&mut self, iterated: &'e Expr) -> Result<Option<(&'e Expr, Vec<Value>)>> {
        if let Expr::MethodCall(zip) = iterated
            && zip.method == "zip"
            && let Expr::MethodCall(iter) = &*zip.receiver
            && iter.method == "iter_mut"
            && let Value::List(others) = self.expression(&zip.args[0])?
            && let Value::List(own) = self.expression(&iter.receiver)?
            && own.len() == others.len()
        {
            return Ok(Some((&iter.receiver, others)));
        }
        Ok(None)
    }

    fn place(&mut self, expression: &Expr) -> Result<&mut Value> {
        match expression {
            Expr::Path(path) => self.slot(&last_name(&path.path)),
            Expr::Unary(inner) => self.place(&inner.expr),
            Expr::Paren(inner) => self.place(&inner.expr),
            Expr::Field(field) => {
                let name = member(&field.member);
                match self.place(&field.base)? {
                    Value::Struct(_, fields) => fields.get_mut(&name).ok_or("no such field".into()),
                    _ => Err("a field of no structure".into()),
                }
            }
            _ => Err("a place that is not known".into()),
        }
    }

    /// A field or an element.
    fn part(&mut self, expression: &Expr) -> Result<Value> {
        let (base, at) = match expression {
            Expr::Field(field) => {
                let base = self.expression(&field.base)?;
                match &field.member {
                    Member::Named(name) => return base.field(&name.to_string()).cloned(),
                    Member::Unnamed(index) => (base, u128::from(index.index)),
                }
            }
            Expr::Index(index) => {
                let base = self.expression(&index.expr)?;
                let Value::Number(at) = self.expression(&index.index)? else {
                    return Ok(Value::Unknown);
                };
                (base, at.constant().ok_or("an index that is not known")?)
            }
            _ => return Err("no part of anything".into()),
        };
        match base {
            Value::Unknown => Ok(Value::Unknown),
            base => base
                .list()?
                .get(at as usize)
                .cloned()
                .ok_or("no such element".into()),
        }
    }

    fn function(&mut self, path: &syn::Path, arguments: &[Value]) -> Result<Value> {
        let name = last_name(path);
        if let Some(Value::Closure(closure)) = self.get(&name) {
            return self.closure(&closure.0, arguments);
        }
        let mut of = match path.segments.len() {
            1 => String::new(),
            len => path.segments[len - 2].ident.to_string(),
        };
        match (of.as_str(), name.as_str(), arguments) {
            ("u64" | "u128", "from", [Value::Bool]) => {
                return Ok(Value::Number(Interval::range(0, 1)));
            }
            ("u64" | "u128", "from", [value]) => {
                let width = if of == "u64" { 64 } else { 128 };
                return Ok(Value::Number(value.number()?.cast(width)?));
            }
            // Bytes of messages and keys.
            ("", "words" | "spread" | "load512" | "load128" | "load128_first" | "store512", _) => {
                return Ok(if name == "spread" {
                    Value::List(vec![Value::Unknown; 2])
                } else {
                    Value::Unknown
                });
            }
            ("", name, arguments) if name.starts_with("_mm") => {
                return super::intrinsics::call(name, shift_of(path)?, arguments);
            }
            ("Self", ..) => of.clone_from(&self.of),
            _ => {}
        }
        Ok(self.program.call(&of, &name, arguments)?.0)
    }

    fn closure(&mut self, closure: &syn::ExprClosure, arguments: &[Value]) -> Result<Value> {
        self.variables.push(BTreeMap::new());
        for (input, argument) in closure.inputs.iter().zip(arguments) {
            self.bind(input, argument)?;
        }
        let result = self.expression(&closure.body)?;
        self.variables.pop();
        Ok(result)
    }

    fn method(&mut self, call: &syn::ExprMethodCall) -> Result<Value> {
        let name = call.method.to_string();
        let receiver = self.expression(&call.receiver)?;
        let arguments = self.all(&call.args)?;
        Ok(match (name.as_str(), &receiver, &arguments[..]) {
            ("cast_signed" | "cast_unsigned", _, []) => receiver,
            ("overflowing_add", _, [other]) => {
                other.number()?;
                let sum = receiver.number()?.overflowing();
                Value::List(vec![Value::Number(sum), Value::Bool])
            }
            // The idiom that makes a mask of a bit.
            ("wrapping_sub", _, [bit]) => {
                let (zero, bit) = (receiver.number()?, bit.number()?);
                if zero.constant() != Some(0) || bit.hi > 1 {
                    return Err("a mask is made of more than a bit".into());
                }
                Value::Mask
            }
            ("map", Value::List(values), [Value::Closure(closure)]) => Value::List(
                values
                    .iter()
                    .map(|value| self.closure(&closure.0, std::slice::from_ref(value)))
                    .collect::<Result<_>>()?,
            ),
            ("iter_mut", ..) => {
                // What a loop writes through it is not followed.
                *self.place(&call.receiver)? = Value::Unknown;
                Value::Unknown
            }
            (
                "as_chunks" | "as_chunks_mut" | "iter" | "zip" | "enumerate" | "get" | "len"
                | "take" | "unwrap_or_default" | "copy_from_slice" | "to_le_bytes" | "first_chunk"
                | "is_empty" | "as_flattened",
                ..,
            ) => Value::Unknown,
            (_, Value::Struct(of, _), _) => {
                let all: Vec<Value> = std::iter::once(&receiver)
                    .chain(&arguments)
                    .cloned()
                    .collect();
                let (result, after) = self.program.call(of, &name, &all)?;
                if after != receiver {
                    *self.place(&call.receiver)? = after;
                }
                result
            }
            _ => return Err(format!("the method {name} is not known")),
        })
    }
}

fn two(operator: &BinOp, left: &Value, right: &Value) -> Result<Value> {
    Ok(Value::Number(match (operator, left, right) {
        (BinOp::BitOr(_), Value::Bool, Value::Bool) => return Ok(Value::Bool),
        (BinOp::BitAnd(_), value, Value::Mask) => return Ok(Value::Selected(value.number()?)),
        (BinOp::BitOr(_), Value::Selected(a), Value::Selected(b)) => a.join(*b),
        (BinOp::Add(_), a, b) => a.number()?.plus(b.number()?)?,
        (BinOp::Sub(_), a, b) => a.number()?.minus(b.number()?)?,
        (BinOp::Mul(_), a, b) => a.number()?.times(b.number()?)?,
        (BinOp::BitAnd(_), a, b) => a.number()?.and(b.number()?)?,
        (BinOp::BitOr(_), a, b) => a.number()?.or(b.number()?)?,
        (BinOp::Shl(_), _, Value::Unknown) => Interval::any().left(64),
        (BinOp::Shl(_), a, b) => a.number()?.left(constant(b)?),
        (BinOp::Shr(_), a, b) => a.number()?.right(constant(b)?)?,
        _ => return Err("an operator that is not known".into()),
    }))
}

fn constant(value: &Value) -> Result<u32> {
    let value = value
        .number()?
        .constant()
        .ok_or("a shift that is not known")?;
    u32::try_from(value).map_err(|error| error.to_string())
}

fn member(member: &Member) -> String {
    match member {
        Member::Named(name) => name.to_string(),
        Member::Unnamed(index) => index.index.to_string(),
    }
}

fn last_name(path: &syn::Path) -> String {
    path.segments
        .last()
        .map(|last| last.ident.to_string())
        .unwrap_or_default()
}

/// The number in `f::<44>`.
fn shift_of(path: &syn::Path) -> Result<u32> {
    let Some(syn::PathArguments::AngleBracketed(arguments)) =
        path.segments.last().map(|last| &last.arguments)
    else {
        return Ok(0);
    };
    match arguments.args.first() {
        Some(syn::GenericArgument::Const(Expr::Lit(syn::ExprLit {
            lit: Lit::Int(n), ..
        }))) => n.base10_parse().map_err(|error| error.to_string()),
        _ => Err("a shift that is no literal".into()),
    }
}
