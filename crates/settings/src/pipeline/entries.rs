//! The settings of a table.

use std::ops::Deref;

use super::document::Node;

/// Settings in the order of the text. Finding one by name takes almost constant time.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    list: Vec<(String, Node)>,
    /// The positions in `list` by name. Empty if there are only a few.
    order: Vec<usize>,
}

/// Up to this many settings are searched one by one.
const FEW: usize = 16;

impl Entries {
    pub fn new(list: Vec<(String, Node)>) -> Self {
        let mut entries = Self { list, order: Vec::new() };
        entries.sort();
        entries
    }

    fn sort(&mut self) {
        self.order.clear();
        if self.list.len() > FEW {
            self.order.extend(0..self.list.len());
            self.order.sort_by(|a, b| self.list[*a].0.cmp(&self.list[*b].0));
        }
    }

    pub fn position(&self, name: &str) -> Option<usize> {
        if self.order.is_empty() {
            return self.list.iter().position(|(key, _)| key == name);
        }
        let found = self.order.binary_search_by(|place| self.list[*place].0.as_str().cmp(name));
        found.ok().map(|at| self.order[at])
    }

    pub fn get(&self, name: &str) -> Option<&Node> {
        self.position(name).map(|place| &self.list[place].1)
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut Node> {
        self.position(name).map(|place| &mut self.list[place].1)
    }

    /// The setting at a position.
    pub fn at_mut(&mut self, place: usize) -> &mut Node {
        &mut self.list[place].1
    }

    /// Adds a setting that is not in the table yet, and returns its position.
    pub fn push(&mut self, name: String, node: Node) -> usize {
        let place = self.list.len();
        self.list.push((name, node));
        if self.order.is_empty() {
            self.sort();
        } else {
            let name = &self.list[place].0;
            let at = self.order.partition_point(|other| self.list[*other].0 < *name);
            self.order.insert(at, place);
        }
        place
    }

    pub fn remove(&mut self, name: &str) {
        if let Some(place) = self.position(name) {
            self.list.remove(place);
            self.sort();
        }
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Node)> {
        self.list.iter_mut().map(|(name, node)| (name.as_str(), node))
    }

    pub fn into_list(self) -> Vec<(String, Node)> {
        self.list
    }
}

impl Deref for Entries {
    type Target = [(String, Node)];

    fn deref(&self) -> &Self::Target {
        &self.list
    }
}

impl PartialEq for Entries {
    fn eq(&self, other: &Self) -> bool {
        self.list == other.list
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::document::NodeValue;
    use super::super::source_text::{SourceText, Span};
    use super::*;

    #[test]
    fn settings_are_found_whether_few_or_many_and_keep_their_order() {
        let source = Arc::new(SourceText::new("", ""));
        let node =
            |number| Node { key: None, place: Span::new(&source, 0..0), value: NodeValue::Integer(number) };
        for count in [0, 1, FEW as i64, FEW as i64 + 1, 40] {
            let name = |number: i64| format!("k{}", (number * 7919) % 101);
            let mut pushed = Entries::default();
            for number in 0..count {
                pushed.push(name(number), node(number));
            }
            let made = Entries::new((0..count).map(|number| (name(number), node(number))).collect());
            assert_eq!(pushed, made);
            for number in 0..count {
                assert_eq!(made.position(&name(number)), Some(number as usize));
                assert_eq!(
                    pushed.get(&name(number)).map(|node| &node.value),
                    Some(&NodeValue::Integer(number))
                );
            }
            assert_eq!(made.position("k"), None);
            pushed.remove(&name(3));
            let left: Vec<i64> = (0..count).filter(|number| *number != 3).collect();
            assert!(
                left.iter().enumerate().all(|(place, number)| pushed.position(&name(*number)) == Some(place))
            );
        }
    }
}
