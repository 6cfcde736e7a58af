//! How many files of the source an addition touches: those in which the name of an example occurs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use regex::Regex;
use walkdir::WalkDir;

/// Something that the program has several of.
struct Addition {
    what: &'static str,
    /// Matches one of them wherever the source names it.
    example: &'static str,
    /// Its own files and folders.
    own: &'static [&'static str],
    /// The files that name it besides: what an addition touches.
    others: &'static [&'static str],
}

const ADDITIONS: &[Addition] = &[
    Addition {
        what: "an optimizer",
        example: r"(?i)\badamw\b",
        own: &["pipeline/optimizer/adamw.rs", "train/optimizer/adamw"],
        // Adam shares its code.
        others: &["pipeline/optimizer.rs", "train/optimizer.rs", "train/optimizer/adam.rs"],
    },
    Addition {
        what: "a schedule",
        example: r"(?i)one_?cycle",
        own: &["pipeline/schedule/one_cycle.rs"],
        others: &["pipeline/schedule.rs"],
    },
    Addition {
        what: "a loss",
        example: r"(?i)\bfocal",
        own: &["pipeline/loss/focal.rs", "ops/focal.rs"],
        others: &["ops/code_paths.rs", "ops/mod.rs", "pipeline/loss.rs", "task/classification/loss.rs"],
    },
    Addition {
        what: "an architecture",
        example: r"(?i)convnext",
        own: &["model/convnext.rs"],
        others: &[
            "model/architectures.rs",
            "model/code_paths.rs",
            "model/mod.rs",
            "pipeline/arch.rs",
            // Only where timm has other tensor names.
            "weights/timm.rs",
        ],
    },
    Addition {
        what: "a data format",
        example: r#"\bCsv\b|\bmod csv;|Some\("csv"\) =>"#,
        own: &["data/source/csv", "pipeline/table.rs"],
        others: &[
            "data/source/format.rs",
            "data/source/mod.rs",
            "pipeline/data.rs",
            // Checks of its own settings.
            "pipeline/label_checks.rs",
            "pipeline/semantic_checks.rs",
            // The format of embeddings that are written.
            "run/embed.rs",
        ],
    },
    // JPEG is named in more files: its decoder reuses memory between images, and decodes at smaller scales.
    Addition {
        what: "an image format",
        example: r"\bPNG\b|\bPng\b|\bpng::FORMAT|\bmod png;",
        own: &["data/image/png"],
        others: &[
            "data/code_paths.rs",
            "data/image/formats.rs",
            "data/image/mod.rs",
            // The pictures that reports write.
            "report/mod.rs",
        ],
    },
    Addition {
        what: "a random change to images",
        example: r"(?i)random_?erasing",
        own: &["data/augment/random_erasing.rs"],
        others: &[
            "data/augment/draws.rs",
            "data/augment/mod.rs",
            "data/code_paths.rs",
            "data/transform.rs",
            "pipeline/augment.rs",
            "pipeline/semantic_checks.rs",
        ],
    },
    Addition {
        what: "a metric",
        example: r"(?i)macro_?f1",
        own: &[],
        others: &[
            // Two tasks have it.
            "metrics/classification.rs",
            "metrics/multi_label.rs",
            // Only of a metric with a confidence interval.
            "metrics/probabilities/intervals.rs",
            "task/classification/report.rs",
            "task/classification/task.rs",
            "task/multi_label/report.rs",
            "task/multi_label/task.rs",
            // Only of a metric that `monitor` may name; the first has it in a hint.
            "pipeline/label_checks.rs",
            "pipeline/training.rs",
        ],
    },
    Addition {
        what: "a task",
        example: r"\bMultiLabel\b|\bmulti_label::|\bmod multi_label;",
        own: &["task/multi_label/"],
        others: &["metrics/mod.rs", "task/kind.rs", "task/mod.rs", "task/registry.rs"],
    },
    // A task touches these too if no other task has its kind of annotation.
    Addition {
        what: "a kind of annotation",
        example: r"\bis_multi_label\b|\bmulti_label: bool|\.multi_label\b|\bLabelKind::Labels\b",
        own: &["task/multi_label/"],
        others: &[
            "cli/data_table.rs",
            "cli/images.rs",
            "data/class_presence.rs",
            "data/dataset.rs",
            "data/source/csv.rs",
            "data/summary.rs",
            "pipeline/label_checks.rs",
            "pipeline/loss/bce.rs",
            "pipeline/table.rs",
            "pipeline/unchecked.rs",
            "report/html_data.rs",
            "stage/class_coverage.rs",
        ],
    },
    Addition {
        what: "a setting of training that enters a recipe",
        example: r"\bclip_norm\b",
        own: &[],
        others: &[
            "estimate/probes.rs",
            "pipeline/stage.rs",
            "stage/recipe/train_settings.rs",
            "train/code_paths.rs",
            "train/fit.rs",
        ],
    },
    Addition {
        what: "a command",
        example: r"\blr_find\b",
        own: &["cli/lr_find.rs"],
        others: &["cli/mod.rs"],
    },
];

/// The folders of sources: of the program and, in a workspace, of its crates.
fn roots() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crates = std::fs::read_dir(root.join("crates")).into_iter().flatten();
    let crates = crates.map(|entry| entry.unwrap().path().join("src"));
    std::iter::once(root.join("src")).chain(crates).filter(|path| path.is_dir()).collect()
}

/// The files of the source, below their folder, and their code without comments and tests.
pub fn sources() -> Vec<(String, String)> {
    let test_module = Regex::new(r"#\[cfg\(test\)\]\s*mod (\w+);").unwrap();
    let (mut sources, mut tests) = (Vec::new(), BTreeSet::new());
    for root in roots() {
        for path in WalkDir::new(&root).into_iter().map(|entry| entry.unwrap().into_path()) {
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let below = path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
            let text = std::fs::read_to_string(&path).unwrap();
            let folder = below.trim_end_matches("mod.rs").trim_end_matches(".rs").trim_end_matches('/');
            tests.extend(test_module.captures_iter(&text).map(|name| format!("{folder}/{}", &name[1])));
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            sources.push((below, code.join("\n")));
        }
    }
    sources.retain(|(file, _)| {
        let modules = file.trim_end_matches(".rs");
        let is_test = modules.split('/').any(|part| part.ends_with("tests"));
        !is_test && !tests.contains(modules)
    });
    sources
}

#[test]
fn an_addition_touches_the_files_that_the_table_lists() {
    let sources = sources();
    let mut wrong = Vec::new();
    for Addition { what, example, own, others } in ADDITIONS {
        let example = Regex::new(example).unwrap();
        let naming = sources.iter().filter(|(_, code)| example.is_match(code)).map(|(file, _)| file.as_str());
        let (its_own, found): (BTreeSet<&str>, BTreeSet<&str>) =
            naming.partition(|file| own.iter().any(|own| file.starts_with(own)));
        for own in own.iter().filter(|own| !its_own.iter().any(|file| file.starts_with(*own))) {
            wrong.push(format!("{what}: src/{own} does not name the example"));
        }
        let listed: BTreeSet<&str> = others.iter().copied().collect();
        for file in found.difference(&listed) {
            wrong.push(format!(
                "{what}: src/{file} names the example: can it do without, or is it one more file?"
            ));
        }
        for file in listed.difference(&found) {
            wrong.push(format!(
                "{what}: src/{file} does not name the example any more: take it from the list"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
