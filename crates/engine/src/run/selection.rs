//! The stages that `--from`, `--until` and `--force` select.

use crate::error::{Error, Result};
use crate::plan::{Plan, StageStatus};

/// The stages that `--from` and `--until` select.
///
/// # Errors
/// There is no such stage.
pub fn selected(plan: &Plan, from: Option<&str>, until: Option<&str>) -> Result<Vec<bool>> {
    Ok(StageSelection::new(plan, from, until, false)?.runs)
}

/// Which stages run, and which are recomputed.
pub(super) struct StageSelection {
    pub runs: Vec<bool>,
    pub forced: Vec<bool>,
    /// For each stage above the `--from` stage, the index of that stage.
    above: Vec<bool>,
}

impl StageSelection {
    pub fn new(plan: &Plan, from: Option<&str>, until: Option<&str>, force: bool) -> Result<Self> {
        let count = plan.stages.len();
        let find = |name: &str| {
            plan.stages.iter().position(|stage| stage.name == name).ok_or_else(|| {
                let names: Vec<&str> = plan.stages.iter().map(|stage| stage.name.as_str()).collect();
                Error::usage(format!("unknown stage `{name}`")).hint(format!("stages: {}", names.join(", ")))
            })
        };
        let ancestors = |index: usize| {
            let (mut above, mut next) = (vec![false; count], vec![index]);
            while let Some(index) = next.pop() {
                let parents = plan.stages[index].parents.iter().map(|parent| parent.stage);
                for parent in parents {
                    if !std::mem::replace(&mut above[parent], true) {
                        next.push(parent);
                    }
                }
            }
            above
        };
        let mut selection =
            Self { runs: vec![true; count], forced: vec![force; count], above: vec![false; count] };
        if let Some(name) = until {
            let last = find(name)?;
            selection.runs = ancestors(last);
            selection.runs[last] = true;
        }
        if let Some(name) = from {
            let first = find(name)?;
            if !selection.runs[first] {
                let last = until.unwrap_or_default();
                return Err(Error::usage(format!("`--from {name}` is not above `--until {last}`"))
                    .hint("remove one of them: `--until` runs only that stage and its ancestors"));
            }
            selection.above = ancestors(first);
            for index in 0..count {
                selection.forced[index] |= index == first || ancestors(index)[first];
            }
        }
        Ok(selection)
    }

    pub fn require_cached_above(&self, plan: &Plan, statuses: &[StageStatus]) -> Result<()> {
        let missing =
            (0..plan.stages.len()).find(|&index| self.above[index] && statuses[index].finished.is_none());
        match missing {
            None => Ok(()),
            Some(index) => {
                let name = &plan.stages[index].name;
                Err(Error::usage(format!(
                    "`--from` needs all stages above it to be finished, but `{name}` is not"
                ))
                .hint("run without `--from` first"))
            }
        }
    }
}
