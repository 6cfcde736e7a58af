//! Patterns over dotted tensor names: the language of `freeze`, `train`, `groups`, `no_decay` and the load settings.

use regex::Regex;

use super::suggest;

/// One pattern, such as `layer1`, `*.bias`, `_blocks.{0..12}`, `re:\.bn\d$`, `@head`, or any of them after `!`.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    negated: bool,
    kind: PatternKind,
}

#[derive(Clone, Debug)]
enum PatternKind {
    /// A module and all below it.
    Module(String),
    Names(Regex),
    Alias(PatternAlias),
}

/// What an architecture names for all patterns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternAlias {
    Head,
    Neck,
    Backbone,
    Norm,
    Bias,
    Adapter,
}

const ALIASES: [(&str, PatternAlias); 6] = [
    ("@head", PatternAlias::Head),
    ("@neck", PatternAlias::Neck),
    ("@backbone", PatternAlias::Backbone),
    ("@norm", PatternAlias::Norm),
    ("@bias", PatternAlias::Bias),
    ("@adapter", PatternAlias::Adapter),
];

/// The widest numeric range: no model has a longer list of modules.
const WIDEST_RANGE: u32 = 1000;

/// Why a text is no pattern: `message` in lower case, `help` an imperative sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError {
    /// One of [`PatternError::CODES`].
    pub code: &'static str,
    pub message: String,
    pub help: Option<String>,
}

impl PatternError {
    /// Stable names of the kinds of error.
    pub const CODES: [&str; 4] = [Self::EMPTY, Self::REGEX, Self::ALIAS, Self::SYNTAX];
    const EMPTY: &str = "bad-pattern";
    const REGEX: &str = "bad-regex";
    const ALIAS: &str = "unknown-alias";
    const SYNTAX: &str = "pattern-syntax";

    fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code: Self::SYNTAX, message: message.into(), help: Some(help.into()) }
    }
}

impl Pattern {
    /// # Errors
    /// The text is no pattern, whatever the names of tensors.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let negated = text.starts_with('!');
        let body = text.strip_prefix('!').unwrap_or(text);
        let kind = if body.trim().is_empty() {
            let help = "write a name such as `layer1`, or `*` for all parameters";
            return Err(PatternError {
                code: PatternError::EMPTY,
                ..PatternError::new("the pattern is empty", help)
            });
        } else if body.starts_with('@') {
            PatternKind::Alias(alias(body)?)
        } else if let Some(expression) = body.strip_prefix("re:") {
            PatternKind::Names(regex(expression)?)
        } else if is_plain(body) {
            PatternKind::Module(body.to_owned())
        } else {
            PatternKind::Names(translate(body)?)
        };
        Ok(Self { text: text.to_owned(), negated, kind })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it takes out again what it matches.
    pub fn is_negated(&self) -> bool {
        self.negated
    }

    /// The alias that it is, if it is one.
    pub fn alias(&self) -> Option<PatternAlias> {
        match self.kind {
            PatternKind::Alias(alias) => Some(alias),
            PatternKind::Module(_) | PatternKind::Names(_) => None,
        }
    }

    /// Whether it means the name, leaving `!` aside; an alias never does.
    pub fn matches_name(&self, name: &str) -> bool {
        match &self.kind {
            PatternKind::Module(module) => name
                .strip_prefix(module.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.')),
            PatternKind::Names(regex) => regex.is_match(name),
            PatternKind::Alias(_) => false,
        }
    }

    /// What to write instead of a pattern that means none of `names`, the modules and tensors there are. Of words that other
    /// tools have for parts of any network (`head`, `features`), it is an alias.
    pub fn suggestion<'a>(&self, names: impl IntoIterator<Item = &'a str> + Clone) -> Option<String> {
        let body = self.text.strip_prefix('!').unwrap_or(&self.text);
        let sign = if self.negated { "!" } else { "" };
        if body.starts_with('@') || body.starts_with("re:") {
            return None;
        }
        let Some((before, last)) = body.rsplit_once("*.") else {
            let near = || suggest::closest_name(body, names.clone()).map(str::to_owned);
            return synonym(body).map(str::to_owned).or_else(near).map(|name| format!("{sign}{name}"));
        };
        // What follows the last wildcard is the end of a name, of as many words.
        let words = last.split('.').count();
        let ends = names.clone().into_iter().filter_map(|name| {
            let starts = std::iter::once(0).chain(name.match_indices('.').map(|(dot, _)| dot + 1));
            let starts: Vec<usize> = starts.collect();
            starts.len().checked_sub(words).map(|first| &name[starts[first]..])
        });
        let meant = format!("{before}*.{}", suggest::closest_name(last, ends.collect::<Vec<_>>())?);
        let pattern = Self::parse(&meant).ok()?;
        names.into_iter().any(|name| pattern.matches_name(name)).then(|| format!("{sign}{meant}"))
    }
}

/// The alias, or the pattern for everything, that a word of other tools means.
fn synonym(word: &str) -> Option<&'static str> {
    const WORDS: [(&str, &[&str]); 7] = [
        (
            "@head",
            &[
                "head",
                "heads",
                "classifier",
                "fc",
                "top",
                "logits",
                "last_layer",
                "last",
                "linear",
                "output",
                "predictions",
                "classification_head",
                "detect",
                "detection_head",
                "final_layer",
                "new_layers",
                "dense",
            ],
        ),
        ("@neck", &["neck", "necks", "fpn", "pan", "pafpn"]),
        (
            "@backbone",
            &[
                "backbone",
                "features",
                "encoder",
                "base",
                "body",
                "trunk",
                "base_model",
                "feature_extractor",
                "pretrained",
                "conv_base",
                "convs",
            ],
        ),
        (
            "@norm",
            &["norm", "norms", "bn", "batchnorm", "batch_norm", "layernorm", "layer_norm", "ln", "bns"],
        ),
        ("@bias", &["bias", "biases"]),
        ("@adapter", &["adapter", "adapters", "lora", "loras"]),
        ("*", &["all", "everything", "full", "model", "network", "any"]),
    ];
    let word = suggest::fold(word);
    WORDS.iter().find(|(_, words)| words.contains(&word.as_str())).map(|(alias, _)| *alias)
}

/// Whether a pattern is a plain name, without wildcards, ranges or sets.
fn is_plain(body: &str) -> bool {
    !body.contains(['*', '{', '}', '[', ']', '!', '@', '?'])
}

fn alias(text: &str) -> Result<PatternAlias, PatternError> {
    let known = ALIASES.iter().find(|(name, _)| *name == text).map(|(_, alias)| *alias);
    known.ok_or_else(|| {
        let names = ALIASES.map(|(name, _)| name);
        let help = match suggest::closest(text, names).or_else(|| synonym(&text[1..])) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("the aliases are {}", names.map(|name| format!("`{name}`")).join(", ")),
        };
        PatternError {
            code: PatternError::ALIAS,
            ..PatternError::new(format!("unknown alias `{text}`"), help)
        }
    })
}

fn regex(expression: &str) -> Result<Regex, PatternError> {
    Regex::new(expression).map_err(|error| PatternError {
        code: PatternError::REGEX,
        message: regex_error(&error),
        help: None,
    })
}

/// The last line of a regex error says why; those before it draw the expression.
pub(super) fn regex_error(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    format!("invalid regular expression: {}", last.trim_start_matches("error: "))
}

/// A pattern names a tensor, or a module and with it all below; `*` in it stands for any characters.
fn translate(body: &str) -> Result<Regex, PatternError> {
    let mut expression = String::from("^");
    let mut rest = body;
    while let Some(character) = rest.chars().next() {
        match character {
            '*' => expression.push_str(".*"),
            '{' => {
                let (inside, after) = enclosed(body, rest, '}')?;
                if after.starts_with('*') || body[..body.len() - rest.len()].ends_with('*') {
                    return Err(PatternError::new(
                        format!(
                            "in `{body}` the range `{{{inside}}}` is next to `*` and could match a part of a number"
                        ),
                        "put a `.` between them",
                    ));
                }
                expression.push_str(&range(body, inside)?);
                rest = after;
                continue;
            }
            '[' => {
                let (inside, after) = enclosed(body, rest, ']')?;
                expression.push_str(&set(body, inside)?);
                rest = after;
                continue;
            }
            '}' | ']' => {
                return Err(PatternError::new(
                    format!("unmatched `{character}` in `{body}`"),
                    "write a range as `{0..12}`",
                ));
            }
            '!' | '@' | '?' => {
                return Err(PatternError::new(
                    format!("`{character}` is not allowed inside a pattern: `{body}`"),
                    if character == '?' {
                        "write `*` for any characters"
                    } else {
                        "write it at the start, or remove it"
                    },
                ));
            }
            other => expression.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
        rest = &rest[character.len_utf8()..];
    }
    expression.push_str(r"(\..*)?$");
    Regex::new(&expression).map_err(|_| PatternError {
        code: PatternError::SYNTAX,
        message: format!("the pattern `{body}` is too large"),
        help: Some("split it into several patterns".to_owned()),
    })
}

/// What stands between the bracket that `rest` begins with and the one that closes it, and what follows.
fn enclosed<'a>(body: &str, rest: &'a str, close: char) -> Result<(&'a str, &'a str), PatternError> {
    rest[1..].split_once(close).ok_or_else(|| {
        PatternError::new(format!("`{}` in `{body}` is not closed", &rest[..1]), format!("add `{close}`"))
    })
}

/// `0..12`, both ends included.
fn range(body: &str, inside: &str) -> Result<String, PatternError> {
    let number = |text: &str| text.parse::<u32>().ok().filter(|number| number.to_string() == text);
    let ends = inside.split_once("..").and_then(|(first, last)| Some((number(first)?, number(last)?)));
    match ends {
        Some((first, last)) if first <= last && last - first < WIDEST_RANGE => {
            let numbers: Vec<String> = (first..=last).map(|number| number.to_string()).collect();
            Ok(format!("(?:{})", numbers.join("|")))
        }
        Some((first, last)) if first > last => Err(PatternError::new(
            format!("the range `{{{inside}}}` in `{body}` is reversed"),
            format!("write `{{{last}..{first}}}`"),
        )),
        Some(_) => Err(PatternError::new(
            format!("the range `{{{inside}}}` in `{body}` is wider than {WIDEST_RANGE}"),
            "use a narrower range",
        )),
        None => Err(PatternError::new(
            format!("`{{{inside}}}` in `{body}` is not a numeric range"),
            "write a range as `{0..12}`, both ends included",
        )),
    }
}

/// One character of several, such as `[ab]` or `[1-4]`. Two digits in a row could be meant as a number: refused.
fn set(body: &str, inside: &str) -> Result<String, PatternError> {
    let is_digit = |character: char| character.is_ascii_digit();
    if inside.as_bytes().windows(2).any(|pair| pair.iter().all(u8::is_ascii_digit)) {
        let (first, last) = inside.split_once('-').unwrap_or(("0", "12"));
        let numbers =
            !first.is_empty() && !last.is_empty() && first.chars().chain(last.chars()).all(is_digit);
        let (first, last) = if numbers { (first, last) } else { ("0", "12") };
        return Err(PatternError::new(
            format!("`[{inside}]` in `{body}` matches one character, not a number"),
            format!("write a range of numbers: `{{{first}..{last}}}`"),
        ));
    }
    let plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
    let members = format!("[{inside}]");
    if inside.is_empty()
        || inside.starts_with('-')
        || !inside.chars().all(plain)
        || Regex::new(&members).is_err()
    {
        return Err(PatternError::new(
            format!("`[{inside}]` in `{body}` is not a set of characters"),
            "write a set as `[ab]` or `[1-4]`, a range of numbers as `{0..12}`",
        ));
    }
    Ok(members)
}

#[cfg(test)]
mod tests;
