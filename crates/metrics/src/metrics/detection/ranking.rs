//! The scores and outcomes of all detections of a class: what average precision needs of an evaluation.
//!
//! A data set has millions of detections but few different outcomes. An outcome is stored once and named by its index,
//! and a checkpoint holds the detections as one text of hexadecimal digits: about 10 bytes a detection.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::matching::{Outcome, by_score};
use crate::error::Error;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Packed", into = "Packed")]
pub(super) struct Ranking {
    scores: Vec<f32>,
    /// By detection, an index of `outcomes`.
    indices: Vec<u32>,
    outcomes: Vec<Outcome>,
    index_of: BTreeMap<Outcome, u32>,
}

/// The form in a checkpoint.
#[derive(Serialize, Deserialize)]
struct Packed {
    /// Hits, then ignored.
    outcomes: Vec<[[u16; 4]; 2]>,
    /// By detection the bits of the score, then the index of the outcome: seven bits a byte, the lowest first, the top
    /// bit set on all but the last byte.
    detections: String,
}

impl Ranking {
    pub(super) fn push(&mut self, score: f32, outcome: Outcome) {
        let index = *self.index_of.entry(outcome).or_insert_with(|| {
            self.outcomes.push(outcome);
            self.outcomes.len() as u32 - 1
        });
        self.scores.push(score);
        self.indices.push(index);
    }

    pub(super) fn get(&self, at: usize) -> (f32, &Outcome) {
        (self.scores[at], &self.outcomes[self.indices[at] as usize])
    }

    /// Indices by falling score; equal scores in the order in which they were added.
    pub(super) fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.scores.len()).collect();
        order.sort_by(|a, b| by_score(self.scores[*a], self.scores[*b]));
        order
    }
}

impl From<Ranking> for Packed {
    fn from(ranking: Ranking) -> Self {
        let mut detections = String::with_capacity(ranking.scores.len() * 10);
        // Writing to a string cannot fail.
        let mut put = |byte: u8| _ = write!(detections, "{byte:02x}");
        for (score, index) in ranking.scores.iter().zip(&ranking.indices) {
            score.to_bits().to_be_bytes().into_iter().for_each(&mut put);
            let mut rest = *index;
            while rest >= 0x80 {
                put(rest as u8 | 0x80);
                rest >>= 7;
            }
            put(rest as u8);
        }
        let outcomes = ranking.outcomes.iter().map(|outcome| [outcome.hits, outcome.ignored]).collect();
        Self { outcomes, detections }
    }
}

impl TryFrom<Packed> for Ranking {
    type Error = Error;

    fn try_from(packed: Packed) -> Result<Self, Error> {
        let mut ranking = Self::default();
        let mut bytes = packed.detections.as_bytes().chunks(2).map(byte);
        let damaged = || {
            Error::failed("the detections of a metric are damaged: the checkpoint is no longer as written")
        };
        let mut next =
            || -> Result<Option<u8>, Error> { bytes.next().map(|byte| byte.ok_or_else(damaged)).transpose() };
        while let Some(first) = next()? {
            let mut bits = u32::from(first);
            for _ in 0..3 {
                bits = bits << 8 | u32::from(next()?.ok_or_else(damaged)?);
            }
            let (mut index, mut shift) = (0u32, 0);
            loop {
                let byte = next()?.ok_or_else(damaged)?;
                index |= u32::from(byte & 0x7f).checked_shl(shift).ok_or_else(damaged)?;
                shift += 7;
                if byte < 0x80 {
                    break;
                }
            }
            let score = f32::from_bits(bits);
            if !score.is_finite() || index as usize >= packed.outcomes.len() {
                return Err(damaged());
            }
            ranking.scores.push(score);
            ranking.indices.push(index);
        }
        ranking.outcomes = packed
            .outcomes
            .iter()
            .map(|[hits, ignored]| Outcome { hits: *hits, ignored: *ignored })
            .collect();
        ranking.index_of =
            (0u32..).zip(&ranking.outcomes).map(|(index, outcome)| (*outcome, index)).collect();
        Ok(ranking)
    }
}

/// Two hexadecimal digits.
fn byte(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
    Some((digit(0)? << 4 | digit(1)?) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_from_a_checkpoint() {
        let mut ranking = Ranking::default();
        for i in 0..1000u16 {
            let outcome = Outcome { hits: [i % 300, 0, 3, 4], ignored: [0, 0, 0, i % 2] };
            ranking.push(f32::from(i) / 1000.0, outcome);
        }
        let text = serde_json::to_string(&ranking).unwrap();
        let mut back: Ranking = serde_json::from_str(&text).unwrap();
        assert_eq!(back, ranking);
        back.push(0.5, Outcome { hits: [1, 0, 3, 4], ignored: [0, 0, 0, 1] });
        assert_eq!((back.outcomes.len(), back.order()[0]), (ranking.outcomes.len(), 999));
    }

    #[test]
    fn damage_is_an_error() {
        let read = |detections: &str| {
            let text = format!(r#"{{"outcomes":[[[0,0,0,0],[0,0,0,0]]],"detections":"{detections}"}}"#);
            serde_json::from_str::<Ranking>(&text)
        };
        assert_eq!(read("3f00000000").unwrap().get(0), (0.5, &Outcome::default()));
        let nan = "7fc0000000";
        for bad in ["3f0000000", "3f000000", "3f00000001", "3f0000008080808080808080", "xy00000000", nan, "é"]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
