//! Fuzz inputs: committed files with a few changes, and random bytes.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Bytes that a failure message does not print.
pub struct Input(pub Vec<u8>);

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// One change of a file.
#[derive(Clone, Debug)]
enum Change {
    Flip(u8),
    Set(u8),
    /// Overwrites bytes with a number typical of lengths and counts.
    Number(u64, usize, bool),
    Insert(Vec<u8>),
    Remove(usize),
    Repeat(usize),
    Truncate,
    /// The rest of the file comes from another one.
    Splice(Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    let edges =
        vec![0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, i64::MAX as u64, u64::MAX];
    let number = (select(edges), select(vec![1usize, 2, 4, 8]), any::<bool>());
    prop_oneof![
        4 => (0u8..8).prop_map(|bit| Change::Flip(1 << bit)),
        4 => any::<u8>().prop_map(Change::Set),
        3 => number.prop_map(|(number, width, big)| Change::Number(number, width, big)),
        2 => vec(any::<u8>(), 1..16).prop_map(Change::Insert),
        2 => (1usize..64).prop_map(Change::Remove),
        2 => (1usize..64).prop_map(Change::Repeat),
        1 => Just(Change::Truncate),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(file, place)| Change::Splice(file, place)),
    ]
}

/// A seed with a few changes or, sometimes, random bytes.
pub fn changed(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Input> {
    let random = vec(any::<u8>(), 0..512).prop_map(Input);
    let changes = vec((any::<Index>(), change()), 1..6);
    let changed = (any::<Index>(), changes).prop_map(move |(file, changes)| {
        let mut bytes = file.get(&seeds).clone();
        for (place, change) in changes {
            let place = place.index(bytes.len() + 1);
            apply(&mut bytes, place, change, &seeds);
        }
        Input(bytes)
    });
    prop_oneof![19 => changed, 1 => random]
}

fn apply(bytes: &mut Vec<u8>, place: usize, change: Change, seeds: &[Vec<u8>]) {
    let whole = bytes.len();
    let end = |length: usize| (place + length).min(whole);
    match change {
        Change::Flip(bits) => bytes.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= bits),
        Change::Set(value) => bytes.iter_mut().skip(place).take(1).for_each(|byte| *byte = value),
        Change::Number(number, width, big) => {
            let (little, large) = (number.to_le_bytes(), number.to_be_bytes());
            let written = if big { &large[8 - width..] } else { &little[..width] };
            bytes.iter_mut().skip(place).zip(written).for_each(|(byte, new)| *byte = *new);
        }
        Change::Insert(new) => drop(bytes.splice(place..place, new)),
        Change::Remove(length) => drop(bytes.drain(place..end(length))),
        Change::Repeat(length) => {
            let piece = bytes[place..end(length)].to_vec();
            drop(bytes.splice(place..place, piece));
        }
        Change::Truncate => bytes.truncate(place),
        Change::Splice(file, from) => {
            let other = file.get(seeds);
            bytes.truncate(place);
            bytes.extend_from_slice(&other[from.index(other.len() + 1)..]);
        }
    }
}
