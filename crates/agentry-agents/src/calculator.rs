//! A tool that calculates, for models do not.

use agentry_core::tool::{Effect, Risks, Tool, ToolContext, ToolError, ToolOutput, ToolSpec};
use async_trait::async_trait;
use serde_json::{Number, Value, json};

/// Deeper than anybody writes.
const DEPTH_MAX: u32 = 64;
const LETTERS_MAX: usize = 1_000;
/// Up to this every whole number is exact.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// `+`, `-`, `*`, `/`, `%`, `^`, parentheses, and a few functions.
pub struct Calculator {
    spec: ToolSpec,
}

impl Default for Calculator {
    fn default() -> Self {
        let parameters = json!({
            "type": "object",
            "properties": { "expression": { "type": "string", "maxLength": LETTERS_MAX } },
            "required": ["expression"],
            "additionalProperties": false,
        });
        let description = "Calculates an expression such as (12.5 + 3) * 2 ^ 8 exactly: + - * / % ^, parentheses, \
                           sqrt, abs, round, floor, ceil, ln, log10, exp, min and max.";
        let (name, description) = ("calculator".to_owned(), description.to_owned());
        let (effect, risks) = (Effect::Read, Risks::default());
        Self { spec: ToolSpec { name, description, parameters, effect, risks } }
    }
}

#[async_trait]
impl Tool for Calculator {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, _: &ToolContext, arguments: Value) -> Result<ToolOutput, ToolError> {
        let expression = arguments.get("expression").and_then(Value::as_str).unwrap_or_default();
        let wrong = |reason| ToolError::InvalidArguments { reason };
        let result = calculate(expression).map_err(wrong)?;
        let whole = result.fract() == 0.0 && result.abs() < EXACT;
        let number =
            if whole { Some(Number::from(result as i64)) } else { Number::from_f64(result) };
        let out = || wrong("the result is no number: it is too large, or not defined".to_owned());
        Ok(ToolOutput(Value::Number(number.ok_or_else(out)?)))
    }
}

/// What an expression comes to, or where it is wrong.
pub fn calculate(expression: &str) -> Result<f64, String> {
    if expression.len() > LETTERS_MAX {
        return Err(format!("the expression has more than {LETTERS_MAX} letters"));
    }
    let mut reading = Reading { text: expression, at: 0, depth: 0 };
    let result = reading.sum()?;
    reading.skip();
    match reading.rest().chars().next() {
        None => Ok(result),
        Some(letter) => Err(format!("`{letter}` at position {} is not expected", reading.at + 1)),
    }
}

struct Reading<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
}

impl<'a> Reading<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    /// Takes one of these signs, if it is next.
    fn sign(&mut self, signs: &[char]) -> Option<char> {
        self.skip();
        let sign = self.rest().chars().next().filter(|letter| signs.contains(letter))?;
        self.at += sign.len_utf8();
        Some(sign)
    }

    fn sum(&mut self) -> Result<f64, String> {
        let mut result = self.product()?;
        while let Some(sign) = self.sign(&['+', '-']) {
            let next = self.product()?;
            result = if sign == '+' { result + next } else { result - next };
        }
        Ok(result)
    }

    fn product(&mut self) -> Result<f64, String> {
        let mut result = self.signed()?;
        while let Some(sign) = self.sign(&['*', '/', '%']) {
            let next = self.signed()?;
            if next == 0.0 && sign != '*' {
                return Err("it divides by zero".to_owned());
            }
            result = match sign {
                '*' => result * next,
                '/' => result / next,
                _ => result % next,
            };
        }
        Ok(result)
    }

    fn signed(&mut self) -> Result<f64, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("it is nested too deeply".to_owned());
        }
        let result = match self.sign(&['-', '+']) {
            Some('-') => Ok(-self.signed()?),
            Some(_) => self.signed(),
            None => self.power(),
        };
        self.depth -= 1;
        result
    }

    /// `2 ^ 3 ^ 2` is `2 ^ 9`.
    fn power(&mut self) -> Result<f64, String> {
        let base = self.value()?;
        match self.sign(&['^']) {
            Some(_) => Ok(base.powf(self.signed()?)),
            None => Ok(base),
        }
    }

    fn value(&mut self) -> Result<f64, String> {
        if self.sign(&['(']).is_some() {
            let result = self.sum()?;
            return self.close().map(|()| result);
        }
        let rest = self.rest();
        let letters = rest.len()
            - rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.').len();
        let word = rest.get(..letters).unwrap_or_default();
        if word.is_empty() {
            let found = rest.chars().next();
            let found = found.map_or_else(|| "the end".to_owned(), |letter| format!("`{letter}`"));
            return Err(format!(
                "a number is missing: there is {found} at position {}",
                self.at + 1
            ));
        }
        self.at += letters;
        // The sign of an exponent belongs to the number.
        if word.starts_with(|c: char| c.is_ascii_digit()) && word.ends_with(['e', 'E']) {
            let sign = self.rest().chars().next().filter(|sign| "+-".contains(*sign));
            let from = self.at - letters;
            self.at += sign.map_or(0, char::len_utf8);
            let rest = self.rest();
            self.at += rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            return number(self.text.get(from..self.at).unwrap_or_default());
        }
        match word {
            "pi" => Ok(std::f64::consts::PI),
            "e" => Ok(std::f64::consts::E),
            word if word.starts_with(|c: char| c.is_ascii_digit() || c == '.') => number(word),
            function => self.function(function),
        }
    }

    fn close(&mut self) -> Result<(), String> {
        match self.sign(&[')']) {
            Some(_) => Ok(()),
            None => Err(format!("`)` is missing at position {}", self.at + 1)),
        }
    }

    fn function(&mut self, name: &str) -> Result<f64, String> {
        if self.sign(&['(']).is_none() {
            return Err(format!("`{name}` is no number"));
        }
        let mut values = vec![self.sum()?];
        while self.sign(&[',']).is_some() {
            values.push(self.sum()?);
        }
        self.close()?;
        match (name, values.as_slice()) {
            ("sqrt", [x]) => Ok(x.sqrt()),
            ("abs", [x]) => Ok(x.abs()),
            ("round", [x]) => Ok(x.round()),
            ("floor", [x]) => Ok(x.floor()),
            ("ceil", [x]) => Ok(x.ceil()),
            ("ln", [x]) => Ok(x.ln()),
            ("log10", [x]) => Ok(x.log10()),
            ("exp", [x]) => Ok(x.exp()),
            ("min", all) => Ok(all.iter().copied().fold(f64::INFINITY, f64::min)),
            ("max", all) => Ok(all.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
            (name, all) => Err(format!("there is no function `{name}` of {} values", all.len())),
        }
    }
}

fn number(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_comes_to_a_number() {
        let check = |expression: &str, expected: f64| {
            assert_eq!(calculate(expression), Ok(expected), "{expression}");
        };
        check("1 + 2 * 3", 7.0);
        check("(1 + 2) * 3", 9.0);
        check("2 ^ 3 ^ 2 - -1", 513.0);
        check("-2 ^ 2", -4.0);
        check("7 % 4 / 2", 1.5);
        check("1.5e3 + 2E-1", 1_500.2);
        check("max(1, 2, sqrt(16)) * min(3, 2)", 8.0);
        check(" 12 ", 12.0);
    }

    #[test]
    fn what_is_wrong_with_an_expression_is_said() {
        let check = |expression: &str, expected: &str| {
            let problem = calculate(expression).unwrap_err();
            assert!(problem.contains(expected), "{expression}: {problem}");
        };
        check("", "there is the end at position 1");
        check("1 +", "there is the end at position 4");
        check("1 2", "`2` at position 3 is not expected");
        check("(1", "`)` is missing at position 3");
        check("1 / (2 - 2)", "divides by zero");
        check("x * 2", "`x` is no number");
        check("rm(1)", "no function `rm`");
        check("1.2.3", "`1.2.3` is no number");
        check(&"(".repeat(500), "nested too deeply");
        check(&"1".repeat(2_000), "more than 1000 letters");
    }
}
