//! The settings of a table.

use std::ops::Deref;
use std::sync::Arc;

use super::document::Node;

/// Settings in the order of the text. Finding one by name takes almost constant time.
///
/// A copy shares all settings until one of them changes: the runs of a file differ in few.
#[derive(Clone, Debug, Default)]
pub struct Entries(Arc<Settings>);

#[derive(Clone, Debug, Default)]
struct Settings {
    list: Vec<(String, Node)>,
    /// The positions in `list` by name. Empty if there are only a few.
    order: Vec<usize>,
}

/// Up to this many settings are searched one by one.
const FEW: usize = 16;

impl Entries {
    pub fn new(list: Vec<(String, Node)>) -> Self {
        let mut settings = Settings { list, order: Vec::new() };
        settings.sort();
        Self(Arc::new(settings))
    }

    pub fn position(&self, name: &str) -> Option<usize> {
        let Settings { list, order } = &*self.0;
        if order.is_empty() {
            return list.iter().position(|(key, _)| key == name);
        }
        let found = order.binary_search_by(|place| list[*place].0.as_str().cmp(name));
        found.ok().map(|at| order[at])
    }

    pub fn get(&self, name: &str) -> Option<&Node> {
        self.position(name).map(|place| &self.0.list[place].1)
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut Node> {
        self.position(name).map(|place| self.at_mut(place))
    }

    /// The setting at a position.
    pub fn at_mut(&mut self, place: usize) -> &mut Node {
        &mut Arc::make_mut(&mut self.0).list[place].1
    }

    /// Adds a setting that is not in the table yet, and returns its position.
    pub fn push(&mut self, name: String, node: Node) -> usize {
        let settings = Arc::make_mut(&mut self.0);
        let place = settings.list.len();
        settings.list.push((name, node));
        if settings.order.is_empty() {
            settings.sort();
        } else {
            let name = &settings.list[place].0;
            let at = settings.order.partition_point(|other| settings.list[*other].0 < *name);
            settings.order.insert(at, place);
        }
        place
    }

    pub fn remove(&mut self, name: &str) {
        if let Some(place) = self.position(name) {
            let settings = Arc::make_mut(&mut self.0);
            settings.list.remove(place);
            settings.sort();
        }
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Node)> {
        Arc::make_mut(&mut self.0).list.iter_mut().map(|(name, node)| (name.as_str(), node))
    }

    pub fn into_list(self) -> Vec<(String, Node)> {
        Arc::unwrap_or_clone(self.0).list
    }
}

impl Settings {
    fn sort(&mut self) {
        self.order.clear();
        if self.list.len() > FEW {
            self.order.extend(0..self.list.len());
            self.order.sort_by(|a, b| self.list[*a].0.cmp(&self.list[*b].0));
        }
    }
}

impl Deref for Entries {
    type Target = [(String, Node)];

    fn deref(&self) -> &Self::Target {
        &self.0.list
    }
}

impl PartialEq for Entries {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.list == other.0.list
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
