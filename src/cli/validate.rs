//! `defrost validate`: prints all errors of pipeline files.

use std::path::PathBuf;
use std::process::ExitCode;

use defrost::pipeline::{Diagnostic, Resolved};
use defrost::plan::{self, DiskAccess};
use defrost::{Result, sanitize};
use serde_json::json;

use super::console::shown;
use super::page::PageOptions;
use super::{Console, PipelineOptions, fetch, images, undecodable};

#[derive(clap::Args)]
#[command(after_help = "Example: defrost validate turtles.toml --set stage.frozen.epochs=3")]
pub struct Args {
    /// Pipeline files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Skip checks that need data or weights, for a machine without them
    #[arg(long)]
    no_inputs: bool,
    /// Also decode every image of all splits, and list those that cannot be decoded
    #[arg(long, conflicts_with = "no_inputs")]
    decode: bool,
    #[command(flatten)]
    page: PageOptions,
    #[command(flatten)]
    pipeline: PipelineOptions,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    let depth = if args.no_inputs { DiskAccess::Offline } else { DiskAccess::Inputs };
    let (mut errors, mut warnings): (Vec<Diagnostic>, Vec<Diagnostic>) = Default::default();
    let (mut unreadable, mut more) = (Vec::new(), 0);
    let (mut decoded, mut found, mut unfetched) = (0, Vec::new(), Vec::new());
    for file in &args.files {
        match args.pipeline.check(file, depth) {
            Ok(runs) => {
                let works = || runs.iter().flat_map(|(_, stages)| stages.iter().map(|stage| &stage.work));
                warnings.extend(console.warnings(runs.iter().map(|(run, _)| run)).into_iter().cloned());
                images::left_out(works()).iter().for_each(|text| console.warn(text));
                unreadable.extend(images::unreadable_of(works()));
                let of_data = runs.iter().flat_map(|(run, drafts)| plan::data_warnings(run, drafts));
                warnings.extend(console.more_warnings(of_data.collect()));
                if args.decode {
                    let (checked, broken) = plan::decode_all(runs.iter().flat_map(|(_, drafts)| drafts));
                    decoded += checked;
                    undecodable::list(&broken, console);
                    found.extend(broken);
                }
                if undecodable::require_sound(&found).is_err() {
                    continue;
                }
                let missing = fetch::missing(&runs);
                for name in missing.iter().filter(|_| depth == DiskAccess::Inputs) {
                    console.say(shown(format!(
                        "note: `{name}` is not fetched yet: `defrost run` fetches it, then checks its tensors"
                    )));
                    unfetched.push(name.to_string());
                }
                let stages = sanitize::count(runs.first().map_or(0, |(_, stages)| stages.len()), "stage");
                let search =
                    runs.first().and_then(|(run, _)| run.of_search.as_ref()).map(|of| of.search.clone());
                let is_shown = |run: &Resolved| run.of_search.as_ref().is_none_or(|of| of.rung.is_none());
                let shown_runs = runs.iter().filter(|(run, _)| is_shown(run));
                let labels: Vec<&str> = shown_runs.filter_map(|(run, _)| run.label.as_deref()).collect();
                let runs = match labels.len() {
                    0 => String::new(),
                    count => match &search {
                        Some(search) => format!(
                            ", a search of {} in {}",
                            sanitize::count(count, "sample"),
                            sanitize::count(search.rungs(), "rung")
                        ),
                        None => format!(", {}", sanitize::count(count, "run")),
                    },
                };
                console.say(format!("ok: {}: {stages}{runs}", shown(file.display())));
                let rows = args.page.rows(labels.len());
                labels.iter().take(rows).for_each(|label| console.say(format!("    {}", shown(label))));
                if rows < labels.len() {
                    console.say(format!("    and {} more: `--all` shows them", labels.len() - rows));
                }
            }
            Err(report) => {
                console.report(&report, file);
                errors.extend(report.diagnostics);
                more += report.more;
            }
        }
    }
    let sound = undecodable::require_sound(&found);
    if args.decode && found.is_empty() && errors.is_empty() {
        console.say(format!("{} can be decoded", sanitize::count(decoded, "image")));
    }
    if console.json() {
        let valid = errors.is_empty() && sound.is_ok();
        let mut document = json!({
            "valid": valid,
            "errors": errors,
            "more": more,
            "warnings": warnings,
            "unreadable": unreadable,
            "unfetched": unfetched,
        });
        if args.decode {
            document["decoded"] = json!(decoded);
            document["broken"] = json!(found);
        }
        console.document(&document);
    }
    sound?;
    Ok(ExitCode::from(if errors.is_empty() { 0 } else { 2 }))
}
