//! Lists of patterns as rules: the last match wins, and every rule must change something given those before it.

use super::description::{Description, TensorId, TensorRole};
use crate::pipeline::{Pattern, PatternAlias, PatternError};

/// An error in a rule of a stage, with its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// The position inside the stage, such as `train[0]` or `groups[1].match[0]`.
    pub setting: String,
    /// A stable error code, such as `pattern-unmatched`.
    pub code: &'static str,
    pub message: String,
    pub help: Option<String>,
}

impl RuleError {
    pub fn new(setting: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self { setting: setting.into(), code, message: message.into(), help: None }
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub fn syntax(setting: &str, error: PatternError) -> Self {
        Self { help: error.help, ..Self::new(setting, error.code, error.message) }
    }

    /// Whether a pattern is none, whatever the names.
    pub fn is_syntax(&self) -> bool {
        PatternError::CODES.contains(&self.code)
    }
}

/// The tensors that a setting can match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternScope {
    /// `freeze`, `train`, `groups`, `no_decay`: a buffer is an error that points to `batch_norm`.
    Parameters,
    /// The load settings.
    Tensors,
}

/// The tensors that a list of patterns selects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TensorSelection {
    /// For each tensor the index of the rule that decided, if any, and whether it is selected.
    pub decided: Vec<Option<(usize, bool)>>,
}

impl TensorSelection {
    pub fn contains(&self, id: TensorId) -> bool {
        matches!(self.decided.get(id), Some(Some((_, true))))
    }
}

/// Applies `patterns`, the value of `setting`, to a model; at first nothing is selected.
///
/// Every error of the list is reported, each at its own rule.
pub fn select(
    description: &Description,
    setting: &str,
    patterns: &[String],
    sight: PatternScope,
) -> Result<TensorSelection, Vec<RuleError>> {
    let mut selection = TensorSelection { decided: vec![None; description.tensors.len()] };
    let mut errors: Vec<RuleError> = Vec::new();
    for (index, text) in patterns.iter().enumerate() {
        let place = format!("{setting}[{index}]");
        match Pattern::parse(text) {
            Ok(pattern) => {
                let hints = errors.len() < MOST_HINTS;
                let outcome = apply(description, &pattern, sight, index, &mut selection, hints);
                errors.extend(outcome.err().map(|error| error.at(&place)));
            }
            Err(error) => errors.push(RuleError::syntax(&place, error)),
        }
    }
    if errors.is_empty() { Ok(selection) } else { Err(errors) }
}

impl RuleError {
    fn at(mut self, place: &str) -> Self {
        place.clone_into(&mut self.setting);
        self
    }
}

/// The number of errors with a suggestion; finding one takes time.
const MOST_HINTS: usize = 200;

/// The names of the head in a model.
fn head_of(description: &Description) -> String {
    description.head.first().map_or_else(String::new, |module| format!(", which is `{module}` here"))
}

fn apply(
    description: &Description,
    pattern: &Pattern,
    sight: PatternScope,
    index: usize,
    selection: &mut TensorSelection,
    hints: bool,
) -> Result<(), RuleError> {
    let text = pattern.text();
    let matched: Vec<TensorId> =
        (0..description.tensors.len()).filter(|&id| description.matches(pattern, id)).collect();
    let seen: Vec<TensorId> = matched
        .iter()
        .copied()
        .filter(|&id| sight == PatternScope::Tensors || description.tensors[id].role.is_parameter())
        .collect();
    if matched.is_empty() && pattern.alias() == Some(PatternAlias::Neck) && description.neck.is_empty() {
        let message = format!("`{text}` matches nothing: `{}` has no neck here", description.arch);
        return Err(RuleError::new("", "pattern-unmatched", message)
            .help("only a detector with `head = { kind = \"detect\" }` has a neck"));
    }
    if matched.is_empty() && pattern.alias() == Some(PatternAlias::Adapter) {
        let message = format!("`{text}` matches nothing: the model has no adapters here");
        return Err(RuleError::new("", "pattern-unmatched", message)
            .help("a stage with `adapter` adds them; stages that start from it have them"));
    }
    if matched.is_empty() {
        let what = if sight == PatternScope::Tensors { "tensor" } else { "parameter" };
        let error = RuleError::new("", "pattern-unmatched", format!("`{text}` matches no {what}"));
        if !hints {
            return Err(error);
        }
        return Err(match pattern.suggestion(description.names()) {
            Some(alias) if alias.ends_with("@head") => {
                error.help(format!("write `{alias}`{}", head_of(description)))
            }
            Some(suggestion) => error.help(format!("did you mean `{suggestion}`?")),
            None => error.help(format!("`defrost params` lists the names of `{}`", description.arch)),
        });
    }
    if seen.is_empty() && description.tensors[matched[0]].role == TensorRole::Constant {
        let name = &description.tensors[matched[0]].name;
        let message = format!("`{text}` matches only `{name}`, a constant of `{}`", description.arch);
        return Err(RuleError::new("", "pattern-constant", message)
            .help("it is never trained in any stage: remove the pattern"));
    }
    if seen.is_empty() {
        let buffer = &description.tensors[matched[0]].name;
        return Err(RuleError::new(
            "",
            "pattern-buffer",
            format!("`{text}` matches only buffers such as `{buffer}`, which are never trained"),
        )
        .help("use `batch_norm = \"eval\"` or `\"train\"` for running statistics"));
    }
    let takes = !pattern.is_negated();
    let mut changed = false;
    for &id in &seen {
        changed |= selection.contains(id) != takes;
        selection.decided[id] = Some((index, takes));
    }
    if changed {
        return Ok(());
    }
    let already = if takes { "is already selected by" } else { "is not selected by" };
    let mut error = RuleError::new(
        "",
        "pattern-redundant",
        format!("`{text}` has no effect: all that it matches {already} the rules before it"),
    );
    if !takes && index == 0 {
        error.message = format!("`{text}` has no effect: it excludes, but no pattern before it selects");
        error = error.help("start with `*`, then exclude");
    } else {
        error = error.help("remove it, or move it");
    }
    Err(error)
}
