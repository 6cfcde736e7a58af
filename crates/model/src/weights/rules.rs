//! The patterns of a `load_weights` stage, resolved against the model.

use crate::model::{Description, PatternScope, RuleError, TensorId, TensorSelection, select};
use crate::pipeline::{ClassRows, FirstConv, LoadWeights, Pattern};

/// How strict loading is. The default is fully strict: every tensor is found, expected and of the right shape.
#[derive(Clone, Debug, Default)]
pub struct LoadRules {
    pub(super) reinit: TensorSelection,
    pub(super) missing: AllowedPatterns,
    pub(super) mismatched: AllowedPatterns,
    pub(super) unexpected: AllowedPatterns,
    /// The classes of the head. A file that records other classes needs a reinitialised head.
    pub classes: Option<Vec<String>>,
    /// The tensors of the head with a row for each class, by [`super::class_tensors`]; if empty, the whole head counts.
    pub class_tensors: Vec<TensorId>,
    pub(super) class_rows: Option<ClassRows>,
    pub(super) file_classes: Vec<String>,
    pub(super) first_conv: Option<FirstConv>,
    /// Whether merged batch normalisation is put back.
    pub(super) restores_norms: bool,
}

/// The patterns of one `allow_*` setting.
#[derive(Clone, Debug, Default)]
pub(super) struct AllowedPatterns {
    setting: &'static str,
    patterns: Vec<Pattern>,
}

impl LoadRules {
    /// Checks the patterns of a stage against the names of its model.
    ///
    /// # Errors
    /// All errors in the patterns. Only [`super::origins`] can check whether they fit a file.
    pub fn resolve(description: &Description, stage: &LoadWeights) -> Result<Self, Vec<RuleError>> {
        let mut errors = Vec::new();
        let mut of_model = |setting: &str, patterns: &[String]| match select(
            description,
            setting,
            patterns,
            PatternScope::Tensors,
        ) {
            Ok(selection) => selection,
            Err(found) => {
                errors.extend(found);
                TensorSelection::default()
            }
        };
        let reinit = of_model("reinit", &stage.reinit);
        of_model("allow_missing", &stage.allow_missing);
        of_model("allow_mismatched", &stage.allow_mismatched);
        let mut unexpected = Vec::new();
        for (index, text) in stage.allow_unexpected.iter().enumerate() {
            let place = format!("allow_unexpected[{index}]");
            match Pattern::parse(text) {
                Ok(_) if text.contains('@') => errors.push(
                    RuleError::new(
                        place,
                        "pattern-unmatched",
                        format!(
                            "`{text}` matches tensors of the model, but this setting is for tensors that the model lacks"
                        ),
                    )
                    .help("use the names in the file"),
                ),
                Ok(pattern) => unexpected.push(pattern),
                Err(error) => errors.push(RuleError::syntax(&place, error)),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let parsed = |patterns: &[String]| patterns.iter().flat_map(|text| Pattern::parse(text)).collect();
        Ok(Self {
            reinit,
            missing: AllowedPatterns { setting: "allow_missing", patterns: parsed(&stage.allow_missing) },
            mismatched: AllowedPatterns {
                setting: "allow_mismatched",
                patterns: parsed(&stage.allow_mismatched),
            },
            unexpected: AllowedPatterns { setting: "allow_unexpected", patterns: unexpected },
            classes: None,
            class_tensors: Vec::new(),
            class_rows: stage.class_rows.clone(),
            file_classes: stage.file_classes.clone(),
            first_conv: stage.first_conv,
            restores_norms: stage.restore_batch_norm.is_some(),
        })
    }

    /// Which rows of a head with other classes are read, if any.
    pub fn class_rows(&self) -> Option<&ClassRows> {
        self.class_rows.as_ref()
    }
}

impl AllowedPatterns {
    /// Which of the `count` refused tensors are allowed, and the rules among them that match nothing, such as
    /// `allow_missing[0] = "fc"`.
    pub(super) fn apply(
        &self,
        count: usize,
        matches: impl Fn(&Pattern, usize) -> bool,
    ) -> (Vec<bool>, Vec<String>) {
        let mut allowed = vec![false; count];
        let mut idle = Vec::new();
        for (index, pattern) in self.patterns.iter().enumerate() {
            let takes = !pattern.is_negated();
            let mut changed = false;
            for (item, slot) in allowed.iter_mut().enumerate() {
                if *slot != takes && matches(pattern, item) {
                    *slot = takes;
                    changed = true;
                }
            }
            if !changed {
                idle.push(format!("`{}[{index}] = \"{}\"`", self.setting, pattern.text()));
            }
        }
        (allowed, idle)
    }

    /// [`Self::apply`] to tensors of the model.
    pub(super) fn apply_to(&self, description: &Description, ids: &[TensorId]) -> (Vec<bool>, Vec<String>) {
        self.apply(ids.len(), |pattern, item| description.matches(pattern, ids[item]))
    }
}
