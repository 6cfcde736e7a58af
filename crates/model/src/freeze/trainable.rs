//! Which tensors train, by `freeze`, `train`, or a depth setting.

use super::adapters;
use crate::model::{Description, PatternScope, RuleError, TensorId, TensorSelection, select};
use crate::pipeline::Train;

/// For each tensor: whether it trains, and the rule that decided.
#[derive(Clone)]
pub(super) struct TrainableSet {
    pub flags: Vec<bool>,
    rules: Vec<Option<String>>,
    /// The setting that applies, for error positions.
    pub setting: &'static str,
}

/// The state of tensors that no rule matches.
const DEFAULT: &str = "(default)";

impl TrainableSet {
    /// Makes a tensor trainable by this rule.
    pub(super) fn unfreeze(&mut self, id: TensorId, rule: String) {
        self.flags[id] = true;
        self.rules[id] = Some(rule);
    }

    /// Such as `train[0] = "@head"`, or `(default)`.
    pub(super) fn rule(&self, id: TensorId) -> &str {
        self.rules[id].as_deref().unwrap_or(DEFAULT)
    }

    /// The position of the rule that decided, such as `train[0]`; the whole setting if no rule matched.
    pub(super) fn rule_path(&self, id: TensorId) -> &str {
        self.rules[id].as_deref().and_then(|rule| rule.split(" = ").next()).unwrap_or(self.setting)
    }
}

pub(super) fn resolve(description: &Description, stage: &Train) -> Result<TrainableSet, Vec<RuleError>> {
    let depth = [
        ("freeze_first", stage.freeze_first),
        ("train_first", stage.train_first),
        ("train_last", stage.train_last),
    ];
    let counted = depth.into_iter().find_map(|(setting, count)| Some((setting, count?)));
    // Earlier checks allow only one of them.
    let mut trainable = match (&stage.freeze, &stage.train, counted) {
        (Some(patterns), _, _) => by_names(description, "freeze", patterns)?,
        (_, Some(patterns), _) => by_names(description, "train", patterns)?,
        (_, _, Some((setting, count))) => {
            by_depth(description, setting, count).map_err(|error| vec![error])?
        }
        (None, None, None) => all(description),
    };
    adapters::train_added(description, stage, &mut trainable)?;
    if trainable.flags.iter().any(|flag| *flag) {
        return Ok(trainable);
    }
    let error = RuleError::new(trainable.setting, "nothing-to-train", "this stage has nothing to train")
        .help("make some parameters trainable, such as `train = [\"@head\"]`");
    Err(vec![error])
}

fn all(description: &Description) -> TrainableSet {
    let flags = description.tensors.iter().map(|tensor| tensor.role.is_parameter()).collect();
    TrainableSet { flags, rules: vec![None; description.tensors.len()], setting: "train" }
}

/// `freeze` selects what is frozen, `train` what trains; the rest is the opposite.
fn by_names(
    description: &Description,
    setting: &'static str,
    patterns: &[String],
) -> Result<TrainableSet, Vec<RuleError>> {
    let selection: TensorSelection = select(description, setting, patterns, PatternScope::Parameters)?;
    let mut trainable = TrainableSet { setting, ..all(description) };
    for (id, decided) in selection.decided.iter().enumerate() {
        if trainable.flags[id] {
            trainable.flags[id] = selection.contains(id) == (setting == "train");
            trainable.rules[id] =
                decided.map(|(rule, _)| format!("{setting}[{rule}] = \"{}\"", patterns[rule]));
        }
    }
    Ok(trainable)
}

/// Counts layers in the order of [`Description::layers`].
fn by_depth(
    description: &Description,
    setting: &'static str,
    count: usize,
) -> Result<TrainableSet, RuleError> {
    let layers = description.layers.len();
    if count > layers {
        let message =
            format!("`{setting} = {count}` is more than the {layers} layers of `{}`", description.arch);
        return Err(RuleError::new(setting, "depth-too-large", message)
            .help("`defrost params` prints the layers in order"));
    }
    let covered = match setting {
        "train_last" => layers - count..layers,
        _ => 0..count,
    };
    let mut trainable = TrainableSet { setting, ..all(description) };
    for (id, tensor) in description.parameters() {
        let inside = covered.contains(&tensor.layer);
        trainable.flags[id] = inside == (setting != "freeze_first");
        trainable.rules[id] = inside.then(|| format!("{setting} = {count}"));
    }
    Ok(trainable)
}
