//! Several errors found in one pass over one input.

use std::collections::BTreeMap;

use super::{Error, Result};

/// The errors of one input: the first ones in full, the rest counted by kind.
#[derive(Debug, Default)]
pub struct InputErrors {
    kept: Vec<Error>,
    more: BTreeMap<&'static str, usize>,
}

impl InputErrors {
    /// More would not be read.
    const KEPT: usize = 40;

    /// `kind` names such an error: `image that cannot be read`.
    pub fn add(&mut self, kind: &'static str, error: Error) {
        match self.kept.len() < Self::KEPT {
            true => self.kept.push(error),
            false => *self.more.entry(kind).or_default() += 1,
        }
    }

    /// Adds the errors of another pass.
    pub fn append(&mut self, others: Self) {
        others.kept.into_iter().for_each(|error| self.add("other errors", error));
        for (kind, count) in others.more {
            *self.more.entry(kind).or_default() += count;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The number of errors.
    pub fn count(&self) -> usize {
        self.kept.len() + self.more.values().sum::<usize>()
    }

    /// # Errors
    /// The first error with all others attached, if there is one.
    pub fn into_result(self) -> Result<()> {
        let mut all = self.kept.into_iter();
        let Some(mut first) = all.next() else { return Ok(()) };
        first.others.extend(all);
        if !self.more.is_empty() {
            let kinds: Vec<String> =
                self.more.iter().map(|(kind, count)| format!("{kind}: {count}")).collect();
            let count: usize = self.more.values().sum();
            first.others.push(Error::usage(format!("{count} more errors ({})", kinds.join(", "))));
        }
        Err(first)
    }

    /// All errors together with a last one, after which the check cannot continue.
    pub fn with(self, last: Error) -> Error {
        match self.into_result() {
            Ok(()) => last,
            Err(mut first) => {
                first.others.push(last);
                first
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_mistakes_are_counted_by_kind() {
        assert!(InputErrors::default().into_result().is_ok());
        let mut mistakes = InputErrors::default();
        for i in 0..45 {
            let kind = if i % 2 == 0 { "even" } else { "odd" };
            mistakes.add(kind, Error::usage(format!("{i}")));
        }
        let error = mistakes.into_result().unwrap_err();
        assert_eq!((error.message.as_str(), error.others.len()), ("0", 40));
        assert_eq!(error.others[39].message, "5 more errors (even: 3, odd: 2)");
    }
}
