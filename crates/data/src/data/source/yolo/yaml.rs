//! A tree of a YAML file, with lines. It has no types: `no`, `1` and `1.0` are texts.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle};

/// Limits for hostile files. Aliases are copied, and count as often as they are used.
const DEEPEST: usize = 32;
const LARGEST: usize = 200_000;

/// A value and its line.
#[derive(Clone, Debug, PartialEq)]
pub struct Yaml {
    pub line: usize,
    pub value: YamlValue,
}

#[derive(Clone, Debug, PartialEq)]
pub enum YamlValue {
    /// Nothing, as after `test:`.
    Null,
    Text(String),
    List(Vec<Yaml>),
    Map(Vec<(Yaml, Yaml)>),
}

impl Yaml {
    /// Parses a file's first document.
    ///
    /// # Errors
    /// The line and the cause.
    pub fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut builder = TreeBuilder::default();
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| (error.marker().line(), error.info().to_owned()))?;
            let line = span.start.line();
            if let Some(whole) = builder.event(event, line).map_err(|cause| (line, cause.to_owned()))? {
                return Ok(whole);
            }
        }
        Ok(Self { line: 1, value: YamlValue::Null })
    }

    pub fn text(&self) -> Option<&str> {
        match &self.value {
            YamlValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value of a key of a map; `None` if the map lacks it, or if it is null.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let YamlValue::Map(entries) = &self.value else { return None };
        let found = entries.iter().find(|(name, _)| name.text() == Some(key)).map(|(_, value)| value);
        found.filter(|found| found.value != YamlValue::Null)
    }

    /// The number of values in the tree.
    fn size(&self) -> usize {
        match &self.value {
            YamlValue::Null | YamlValue::Text(_) => 1,
            YamlValue::List(items) => 1 + items.iter().map(Self::size).sum::<usize>(),
            YamlValue::Map(entries) => {
                1 + entries.iter().map(|(key, value)| key.size() + value.size()).sum::<usize>()
            }
        }
    }
}

/// A list or map whose end has not come yet.
struct Open {
    line: usize,
    anchor: usize,
    items: Vec<Yaml>,
    is_map: bool,
}

#[derive(Default)]
struct TreeBuilder {
    open: Vec<Open>,
    anchors: HashMap<usize, Yaml>,
    count: usize,
}

impl TreeBuilder {
    /// Adds an event. Returns the tree when it is complete.
    fn event(&mut self, event: Event, line: usize) -> Result<Option<Yaml>, &'static str> {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let is_null =
                    style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let value = if is_null { YamlValue::Null } else { YamlValue::Text(text.into_owned()) };
                self.add(Yaml { line, value }, anchor, 1)
            }
            Event::Alias(anchor) => {
                let copied = self.anchors.get(&anchor).cloned().ok_or("an alias inside of its own anchor")?;
                let size = copied.size();
                self.add(Yaml { line, ..copied }, 0, size)
            }
            Event::SequenceStart(anchor, ..) => self.start(line, anchor, false),
            Event::MappingStart(anchor, ..) => self.start(line, anchor, true),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { line, anchor, items, is_map }) = self.open.pop() else {
                    return Err("an end without a start");
                };
                let value = match is_map {
                    false => YamlValue::List(items),
                    true => {
                        let mut entries = Vec::with_capacity(items.len() / 2);
                        let mut items = items.into_iter();
                        while let (Some(key), Some(value)) = (items.next(), items.next()) {
                            entries.push((key, value));
                        }
                        YamlValue::Map(entries)
                    }
                };
                self.add(Yaml { line, value }, anchor, 1)
            }
            _ => Ok(None),
        }
    }

    fn start(&mut self, line: usize, anchor: usize, is_map: bool) -> Result<Option<Yaml>, &'static str> {
        if self.open.len() >= DEEPEST {
            return Err("lists and maps are nested too deep");
        }
        self.open.push(Open { line, anchor, items: Vec::new(), is_map });
        Ok(None)
    }

    fn add(&mut self, node: Yaml, anchor: usize, size: usize) -> Result<Option<Yaml>, &'static str> {
        self.count += size;
        if anchor > 0 {
            self.count += node.size();
            if self.count <= LARGEST {
                self.anchors.insert(anchor, node.clone());
            }
        }
        if self.count > LARGEST {
            return Err("too many values, or aliases of aliases");
        }
        match self.open.last_mut() {
            Some(open) => {
                open.items.push(node);
                Ok(None)
            }
            None => Ok(Some(node)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_lines_and_no_types() {
        let text = "# a comment\npath: ../x\nnames:\n  0: no\n  1: 'traffic light'\ntest:\ntrain: [a, b]\n";
        let tree = Yaml::parse(text).unwrap();
        assert_eq!(tree.get("path").unwrap().text(), Some("../x"));
        assert_eq!(tree.get("test"), None);
        let YamlValue::Map(names) = &tree.get("names").unwrap().value else { panic!("{tree:?}") };
        let names: Vec<_> = names.iter().map(|(key, name)| (key.text(), name.text(), name.line)).collect();
        assert_eq!(names, [(Some("0"), Some("no"), 4), (Some("1"), Some("traffic light"), 5)]);
    }

    #[test]
    fn aliases_and_depth_are_bounded() {
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let before = format!("*a{}, ", level - 1).repeat(9);
            laughs += &format!("a{level}: &a{level} [{before}]\n");
        }
        let (_, cause) = Yaml::parse(&laughs).unwrap_err();
        assert_eq!(cause, "too many values, or aliases of aliases");
        assert!(Yaml::parse(&"[".repeat(100_000)).is_err());
        let (line, cause) = Yaml::parse(&"[".repeat(40)).unwrap_err();
        assert_eq!((line, &*cause), (1, "lists and maps are nested too deep"));
        assert_eq!(Yaml::parse("a: &x b\nc: *x\n").unwrap().get("c").unwrap().text(), Some("b"));
    }
}
