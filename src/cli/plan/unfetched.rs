//! What can be planned before weights are fetched: which stages wait for them.

use std::path::Path;
use std::process::ExitCode;

use defrost::Result;
use defrost::pipeline::{RemoteWeights, Resolved};
use defrost::plan::StageDraft;
use serde_json::{Value, json};

use crate::cli::Console;
use crate::cli::console::shown;
use crate::cli::session::LoadedRuns;

/// Prints the stages of each run, without cache keys: these need the digests of the weights.
pub fn show(
    runs: &LoadedRuns,
    missing: &[RemoteWeights],
    file: &Path,
    console: &Console,
) -> Result<ExitCode> {
    let mut documents: Vec<Value> = Vec::new();
    for (run, drafts) in runs {
        if let Some(label) = &run.label {
            console.say(format!("\x1b[1m{}\x1b[0m", shown(label)));
        }
        let width = drafts.iter().map(|draft| draft.name.len()).max().unwrap_or(0);
        let mut stages: Vec<Value> = Vec::new();
        for draft in drafts {
            let reason = reason(run, draft, missing);
            let word = if reason.is_some() { "\x1b[33mMISS  \x1b[0m" } else { "?     " };
            let text = reason.clone().unwrap_or_else(|| "unknown until the weights are fetched".to_owned());
            console.say(format!("{word}  {:width$}  {}", draft.name, shown(text)));
            let reasons = reason.map(|reason| json!({ "field": "weights", "old": null, "new": reason }));
            stages.push(json!({
                "name": draft.name,
                "kind": draft.work.kind(),
                "recipe": null,
                "key": null,
                "status": "miss",
                "reasons": reasons.into_iter().collect::<Vec<_>>(),
            }));
        }
        let mut document = json!({ "run_dir": null, "stages": stages, "unfetched": names(missing) });
        if let Some(label) = &run.label {
            document["label"] = json!(label);
        }
        documents.push(document);
    }
    console.say("");
    for name in missing {
        console.say(shown(format!("not fetched yet: {name}")));
    }
    console.say(shown(format!(
        "`defrost run {0}` fetches weights first; `defrost weights fetch {0}` fetches them alone, and then `plan` shows the rest",
        file.display()
    )));
    if console.json() {
        match &mut documents[..] {
            [document] if runs[0].0.label.is_none() => console.document(document),
            _ => console.document(&json!({ "runs": documents })),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Why the key of a stage is not known, if the stage itself loads weights that are missing.
fn reason(run: &Resolved, draft: &StageDraft, missing: &[RemoteWeights]) -> Option<String> {
    let (_, name) = run.remote_weights_of(run.stage(&draft.name)?)?;
    missing.contains(&name).then(|| format!("`{name}` is not fetched yet"))
}

fn names(missing: &[RemoteWeights]) -> Vec<String> {
    missing.iter().map(ToString::to_string).collect()
}
