//! The stages and features that several runs share and miss. They are computed first, each once, so that no run waits
//! for another.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::digest::Digest;
use crate::plan::{ParentStage, Plan, PlanEntry};
use crate::stage::ResolvedStage;

/// The stages of a run, parents first.
pub struct RunStages(Vec<StageNode>);

struct StageNode {
    name: String,
    recipe: Digest,
    parents: Vec<usize>,
    /// It is missing, and long enough to be computed before the runs.
    wanted: bool,
    /// Identifies the features that it computes, if they are kept. Stages that differ in their heads have the same.
    features: Option<Digest>,
}

/// What several runs share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedTask {
    /// The run in which it is computed.
    pub run: usize,
    /// The names of the stages in that run, parents first.
    pub stages: Vec<String>,
    /// Only the features of the frozen layers of the stage: its training begins with them.
    pub features: bool,
    /// All runs that share it.
    pub serves: BTreeSet<usize>,
}

impl RunStages {
    /// `wanted` says for each stage whether it is missing and long enough.
    pub fn new(plan: &Plan, wanted: &[bool]) -> Self {
        let node = |(entry, wanted): (&PlanEntry, &bool)| StageNode {
            name: entry.name.clone(),
            recipe: entry.recipe,
            parents: entry.parents.iter().map(|parent| parent.stage).collect(),
            wanted: *wanted,
            features: wanted.then(|| kept_features(plan, entry)).flatten(),
        };
        Self(plan.stages.iter().zip(wanted).map(node).collect())
    }

    /// The recipes that some stages read, directly or not, without their own.
    fn ancestors(&self, recipes: &BTreeSet<Digest>) -> BTreeSet<Digest> {
        let (mut above, mut seen) = (BTreeSet::new(), BTreeSet::new());
        let mut next: Vec<usize> =
            (0..self.0.len()).filter(|at| recipes.contains(&self.0[*at].recipe)).collect();
        while let Some(index) = next.pop() {
            for &parent in &self.0[index].parents {
                if seen.insert(parent) {
                    above.insert(self.0[parent].recipe);
                    next.push(parent);
                }
            }
        }
        above.retain(|recipe| !recipes.contains(recipe));
        above
    }
}

/// Identifies the features of a train stage whose frozen layers run once per image. Whether two stages read the same set
/// is known only with their weights; this decides only what is computed first.
pub fn kept_features(plan: &Plan, entry: &PlanEntry) -> Option<Digest> {
    let ResolvedStage::Train(..) = &entry.work else { return None };
    let prefix = entry.work.prefixes().into_iter().next()?;
    if prefix.recomputed.is_some() || prefix.views.is_some() {
        return None;
    }
    let parent = |parent: &ParentStage| json!([plan.stages[parent.stage].recipe, parent.file()]);
    let parents: Vec<_> = entry.parents.iter().map(parent).collect();
    let (inputs, images) = (entry.document.get("inputs"), entry.document.get("images"));
    let identity = json!([parents, prefix.layers, prefix.kind, inputs, images]);
    Some(Digest::of_json(&identity))
}

/// The tasks that compute what runs share, in waves: the tasks of a wave need only the waves before.
///
/// Stages that exactly the same runs share are one task. A stage that more runs share than a stage below it is in an
/// earlier wave. Features come last, because they need the weights of stages above.
pub fn shared_first(runs: &[RunStages]) -> Vec<Vec<SharedTask>> {
    let mut users: BTreeMap<Digest, BTreeSet<usize>> = BTreeMap::new();
    for (index, run) in runs.iter().enumerate() {
        for stage in run.0.iter().filter(|stage| stage.wanted) {
            users.entry(stage.recipe).or_default().insert(index);
        }
    }
    users.retain(|_, runs| runs.len() > 1);
    let mut groups: BTreeMap<BTreeSet<usize>, BTreeSet<Digest>> = BTreeMap::new();
    for (recipe, runs) in &users {
        groups.entry(runs.clone()).or_default().insert(*recipe);
    }
    // At least the same runs share what a stage reads, so parents come first in this order.
    let mut groups: Vec<(BTreeSet<usize>, BTreeSet<Digest>)> = groups.into_iter().collect();
    groups.sort_by_key(|(runs, _)| (Reverse(runs.len()), runs.first().copied()));

    let mut waves: Vec<Vec<SharedTask>> = Vec::new();
    let mut wave_of: BTreeMap<Digest, usize> = BTreeMap::new();
    for (serves, mut recipes) in groups {
        let Some(&run) = serves.first() else { continue };
        let above = runs[run].ancestors(&recipes);
        let wave =
            above.iter().filter_map(|recipe| wave_of.get(recipe)).map(|wave| wave + 1).max().unwrap_or(0);
        wave_of.extend(recipes.iter().map(|recipe| (*recipe, wave)));
        // Two stages of a run may have the same recipe.
        let stages = runs[run].0.iter().filter(|stage| recipes.remove(&stage.recipe));
        let stages = stages.map(|stage| stage.name.clone()).collect();
        waves.resize_with(waves.len().max(wave + 1), Vec::new);
        waves[wave].push(SharedTask { run, stages, features: false, serves });
    }
    let features = shared_features(runs, &users);
    waves.extend((!features.is_empty()).then_some(features));
    waves.iter_mut().for_each(|wave| wave.sort_by_key(|task| (task.run, task.stages.clone())));
    waves
}

/// The features that stages with different recipes share. A stage that is computed first has computed its features too.
fn shared_features(runs: &[RunStages], computed: &BTreeMap<Digest, BTreeSet<usize>>) -> Vec<SharedTask> {
    let mut users: BTreeMap<Digest, Vec<(usize, &StageNode)>> = BTreeMap::new();
    for (index, run) in runs.iter().enumerate() {
        for (features, stage) in run.0.iter().filter_map(|stage| Some((stage.features?, stage))) {
            users.entry(features).or_default().push((index, stage));
        }
    }
    let task = |stages: Vec<(usize, &StageNode)>| {
        let serves: BTreeSet<usize> = stages.iter().map(|(run, _)| *run).collect();
        let first = stages.iter().any(|(_, stage)| computed.contains_key(&stage.recipe));
        let (run, stage) = stages.first()?;
        (serves.len() > 1 && !first).then(|| SharedTask {
            run: *run,
            stages: vec![stage.name.clone()],
            features: true,
            serves,
        })
    };
    users.into_values().filter_map(task).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of stages, each by its name, its recipe, the stages that it reads, and its features.
    fn run(stages: &[(&str, &str, &[usize], Option<&str>)]) -> RunStages {
        let node = |(name, recipe, parents, features): &(&str, &str, &[usize], Option<&str>)| StageNode {
            name: (*name).to_owned(),
            recipe: Digest::of(recipe.as_bytes()),
            parents: parents.to_vec(),
            wanted: *recipe != "weights",
            features: features.map(|features| Digest::of(features.as_bytes())),
        };
        RunStages(stages.iter().map(node).collect())
    }

    fn task(run: usize, stages: &[&str], features: bool, serves: &[usize]) -> SharedTask {
        let stages = stages.iter().map(|stage| (*stage).to_owned()).collect();
        SharedTask { run, stages, features, serves: serves.iter().copied().collect() }
    }

    #[test]
    fn what_the_same_runs_share_is_one_task_and_what_more_share_comes_first() {
        let one = |frozen: &str, tuned: &str, test: &str| {
            run(&[
                ("start", "weights", &[], None),
                ("frozen", frozen, &[0], None),
                ("baseline", &format!("{frozen} tested"), &[1], None),
                ("tuned", tuned, &[1], None),
                ("test", test, &[3], None),
            ])
        };
        assert_eq!(shared_first(&[one("f", "a", "ta")]), Vec::<Vec<SharedTask>>::new());
        let runs = [one("f", "a", "ta"), one("f", "a", "tb"), one("f", "c", "tc"), one("g", "d", "td")];
        let expected = [
            vec![task(0, &["frozen", "baseline"], false, &[0, 1, 2])],
            vec![task(0, &["tuned"], false, &[0, 1])],
        ];
        assert_eq!(shared_first(&runs), expected);
    }

    #[test]
    fn seeds_share_features_and_a_stage_that_is_computed_first_has_them() {
        let seed =
            |recipe: &str| run(&[("start", "weights", &[], None), ("head", recipe, &[0], Some("rows"))]);
        assert_eq!(shared_first(&[seed("1"), seed("2")]), [vec![task(0, &["head"], true, &[0, 1])]]);
        let computed = [seed("1"), seed("1"), seed("2")];
        assert_eq!(shared_first(&computed), [vec![task(0, &["head"], false, &[0, 1])]]);
        assert!(shared_first(&[seed("1")]).is_empty());
    }
}
