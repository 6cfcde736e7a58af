//! Distributions, and draws from them that are the same on every machine.

use super::super::document::{Node, NodeValue};
use crate::random::{Purpose, Stream, name_hash};

/// The values that a setting may take.
pub enum Distribution {
    Uniform(f64, f64),
    LogUniform(f64, f64),
    Integer(i64, i64),
    LogInteger(i64, i64),
    Choice(Vec<NodeValue>),
}

/// The significant digits of drawn numbers. A label shows all of them, so that a person can write the number.
const DIGITS: usize = 4;

impl Distribution {
    /// Reads a table that fits the schema.
    ///
    /// # Errors
    /// The setting at fault, if there is one, and what is wrong: code, message and help.
    pub fn read(table: &Node) -> Result<Self, (Option<&Node>, &'static str, String, String)> {
        let [(key, node)] = table.entries() else {
            let help = "write one of `uniform`, `log_uniform`, `integer`, `log_integer` and `choice`";
            let (code, message) = match table.entries().get(1) {
                None => ("missing-key", "this setting has no distribution".to_owned()),
                Some((second, _)) => {
                    ("unknown-key", format!("`{second}` cannot be combined with another distribution"))
                }
            };
            return Err((table.entries().get(1).map(|(_, node)| node), code, message, help.to_owned()));
        };
        let number = |at: usize| match node.items().get(at).map(|item| &item.value) {
            Some(NodeValue::Float(number)) => *number,
            Some(NodeValue::Integer(number)) => *number as f64,
            _ => 0.0,
        };
        let whole = |at: usize| match node.items().get(at).map(|item| &item.value) {
            Some(NodeValue::Integer(number)) => *number,
            _ => 0,
        };
        if key == "choice" {
            return Ok(Self::Choice(node.items().iter().map(|item| item.value.clone()).collect()));
        }
        if number(0) >= number(1) {
            let message = format!("the first bound of `{key}` must be below the second");
            let help = match number(0) == number(1) {
                true => "set this value in the stage itself, or use two different bounds".to_owned(),
                false => format!("write `{key} = [{}, {}]`", number(1), number(0)),
            };
            return Err((Some(node), "conflict", message, help));
        }
        let (low, high) = (whole(0), whole(1));
        if key.ends_with("integer") && high.checked_sub(low).is_none_or(|width| width >= i64::from(u32::MAX))
        {
            let message = format!("`{key}` has more than {} values", u32::MAX);
            return Err((Some(node), "conflict", message, "use nearer bounds".to_owned()));
        }
        Ok(match key.as_str() {
            "uniform" => Self::Uniform(number(0), number(1)),
            "log_uniform" => Self::LogUniform(number(0), number(1)),
            "integer" => Self::Integer(low, high),
            _ => Self::LogInteger(low, high),
        })
    }

    pub fn is_logarithmic(&self) -> bool {
        matches!(self, Self::LogUniform(..) | Self::LogInteger(..))
    }

    /// The number of values, if it is small enough to run out.
    pub fn count(&self) -> Option<u64> {
        match self {
            Self::Uniform(..) | Self::LogUniform(..) => None,
            Self::Integer(low, high) | Self::LogInteger(low, high) => Some(high.abs_diff(*low) + 1),
            Self::Choice(values) => Some(values.len() as u64),
        }
    }

    /// The stream of a setting in a sample. It depends on neither the other settings nor the number of samples.
    pub fn stream(seed: u64, path: &str, sample: u32) -> Stream {
        Stream::new(seed, Purpose::Search, sample, name_hash(path))
    }

    pub fn draw(&self, stream: &mut Stream) -> NodeValue {
        match self {
            Self::Uniform(low, high) => {
                NodeValue::Float(rounded(low + (high - low) * stream.uniform_f64(), *low, *high))
            }
            Self::LogUniform(low, high) => {
                NodeValue::Float(rounded(between(*low, *high, stream.uniform_f64()), *low, *high))
            }
            Self::Integer(low, high) => {
                let width = u32::try_from(high.abs_diff(*low) + 1).unwrap_or(u32::MAX);
                NodeValue::Integer(low + i64::from(stream.below(width)))
            }
            Self::LogInteger(low, high) => {
                let drawn = between(*low as f64, *high as f64 + 1.0, stream.uniform_f64());
                NodeValue::Integer((drawn as i64).clamp(*low, *high))
            }
            Self::Choice(values) => {
                let count = u32::try_from(values.len()).unwrap_or(u32::MAX);
                values[stream.below(count) as usize].clone()
            }
        }
    }
}

/// A number whose logarithm is at `share` of the way, computed with a portable `libm`.
fn between(low: f64, high: f64, share: f64) -> f64 {
    let (low, high) = (libm::log(low), libm::log(high));
    libm::exp(low + (high - low) * share)
}

fn rounded(number: f64, low: f64, high: f64) -> f64 {
    let text = format!("{number:.*e}", DIGITS - 1);
    text.parse().unwrap_or(number).clamp(low, high)
}

/// A value as a label shows it.
pub fn text(value: &NodeValue) -> String {
    match value {
        NodeValue::String(text) => text.clone(),
        NodeValue::Integer(number) => number.to_string(),
        NodeValue::Boolean(flag) => flag.to_string(),
        // The shortest text that TOML reads as the same number.
        NodeValue::Float(number) => format!("{number:?}"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(distribution: &Distribution, seed: u64, count: u32) -> Vec<String> {
        let draw = |sample| {
            text(&distribution.draw(&mut Distribution::stream(seed, "stage.a.optimizer.lr", sample)))
        };
        (0..count).map(draw).collect()
    }

    #[test]
    fn draws_are_known_numbers_and_the_same_on_every_machine() {
        assert_eq!(
            draws(&Distribution::LogUniform(1e-4, 1e-1), 0, 4),
            draws(&Distribution::LogUniform(1e-4, 1e-1), 0, 9)[..4]
        );
        let words = ["a", "b", "c"].map(|word| NodeValue::String(word.to_owned()));
        let all = [
            Distribution::LogUniform(1e-6, 1e-1),
            Distribution::Uniform(-1.0, 1.0),
            Distribution::Integer(-3, 12),
            Distribution::LogInteger(1, 512),
            Distribution::Choice(words.into()),
        ];
        let known: Vec<String> = all.iter().map(|one| draws(one, 0, 5).join(" ")).collect();
        insta::assert_snapshot!(known.join("; "), @"0.0002114 4.311e-6 0.000217 0.03545 0.00936; -0.06992 -0.7462 -0.06545 0.8199 0.5885; 4 -1 4 11 9; 18 2 18 292 142; b a b c c");
        assert_ne!(
            draws(&Distribution::Uniform(0.0, 1.0), 1, 4),
            draws(&Distribution::Uniform(0.0, 1.0), 0, 4)
        );
    }

    #[test]
    fn draws_stay_within_their_bounds_and_fill_them() {
        let numbers = |distribution: &Distribution| -> Vec<f64> {
            draws(distribution, 3, 4000).iter().map(|text| text.parse().unwrap()).collect()
        };
        let below = |numbers: &[f64], middle: f64| {
            numbers.iter().filter(|number| **number < middle).count() as f64 / numbers.len() as f64
        };
        let logarithmic = numbers(&Distribution::LogUniform(1e-4, 1e-1));
        assert!(logarithmic.iter().all(|number| (1e-4..=1e-1).contains(number)));
        assert!((below(&logarithmic, 1e-3) - 1.0 / 3.0).abs() < 0.03);
        let uniform = numbers(&Distribution::Uniform(-1.0, 3.0));
        assert!((below(&uniform, 0.0) - 0.25).abs() < 0.03);
        let dice = numbers(&Distribution::Integer(1, 6));
        assert!(
            dice.iter().all(|number| (1.0..=6.0).contains(number))
                && dice.contains(&1.0)
                && dice.contains(&6.0)
        );
        let powers = numbers(&Distribution::LogInteger(1, 8));
        assert!(powers.contains(&1.0) && powers.contains(&8.0) && (below(&powers, 3.0) - 0.5).abs() < 0.03);
    }
}
