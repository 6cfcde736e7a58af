//! Real-world folders: layouts, leftover system files, links, pipes, classes missing from a split.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::project::Project;

pub const SPLIT: &str = "split      = { validation = 0.25, test = 0.25, seed = 0 }";

/// The result of `validate`: the exit code, each error with its help, and the text.
pub struct Verdict {
    pub code: i32,
    pub errors: Vec<(String, String)>,
    pub text: String,
}

impl Verdict {
    pub fn of(project: &Project) -> Self {
        let output = project.defrost(&["validate", "colours.toml", "--json"]);
        let document: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let errors = document["errors"].as_array().expect("a list of errors");
        Self {
            code: output.status.code().expect("it ends"),
            errors: errors.iter().map(|error| (text(&error["message"]), text(&error["help"]))).collect(),
            text: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// As above, with the split seed that the first error suggests, if it suggests one.
    pub fn settled(project: &Project) -> Self {
        let first = Self::of(project);
        let advised = first.errors.iter().find(|(_, help)| help.contains("split.seed = "));
        let Some((_, help)) = advised else { return first };
        let seed = setting(help, "split.seed").trim_start_matches("split.");
        project.write(&project.text().replace("seed = 0", seed));
        Self::of(project)
    }

    #[track_caller]
    pub fn error(&self) -> (&str, &str) {
        assert_eq!((self.code, self.errors.len()), (2, 1), "{}", self.text);
        (&self.errors[0].0, &self.errors[0].1)
    }

    #[track_caller]
    pub fn passes(&self) -> &str {
        assert_eq!((self.code, self.errors.len()), (0, 0), "{}", self.text);
        &self.text
    }
}

/// A project with images in split folders, with the given number per class.
fn parted(parts: &[(&str, &[(&str, u32)])]) -> Project {
    let project = Project::new();
    fs::remove_dir_all(project.path().join("photos")).unwrap();
    for (part, classes) in parts {
        for (class, count) in *classes {
            for number in 0..*count {
                project.image(&format!("photos/{part}/{class}/{number}.png"), [40, 190, 50], number);
            }
        }
    }
    project
}

/// The setting that a help text suggests: the first text in backticks that contains `part`.
#[track_caller]
pub fn setting<'a>(help: &'a str, with: &str) -> &'a str {
    help.split('`').skip(1).step_by(2).find(|text| text.contains(with)).unwrap_or_else(|| panic!("{help}"))
}

const TWO: &[(&str, u32)] = &[("ant", 4), ("bee", 4)];

#[test]
fn folders_of_parts_are_refused_with_the_setting_that_is_meant() {
    for (parts, written) in [
        (&["train", "val"][..], r#"split = { folders = { train = "train", validation = "val" } }"#),
        (
            &["Training", "VALID", "Testing"],
            r#"split = { folders = { train = "Training", validation = "VALID", test = "Testing" } }"#,
        ),
        (&["train", "test"], r#"split = { validation = 0.2, folders = { train = "train", test = "test" } }"#),
        (&["train"], r#"split = { validation = 0.2, folders = { train = "train" } }"#),
    ] {
        let parts: Vec<(&str, &[(&str, u32)])> = parts.iter().map(|part| (*part, TWO)).collect();
        let project = parted(&parts);
        let verdict = Verdict::of(&project);
        let (message, help) = verdict.error();
        assert!(message.contains("are named like splits"), "{message}");
        assert_eq!(setting(help, "split = "), written);
        // The suggestion is accepted.
        project.edit(SPLIT, &written.replace("{ validation", "{ seed = 0, validation"));
        let text = project
            .text()
            .replace("from = \"finetune@best\"\n", "from = \"finetune@best\"\nsplit = \"train\"\n");
        project.write(&text);
        Verdict::settled(&project).passes();
    }
}

#[test]
fn classes_with_the_names_of_parts_are_classes_where_they_are_named() {
    let project = parted(&[("", &[("train", 8), ("test", 8)])]);
    project.edit("batch_size = 5", "batch_size = 6");
    let text = Verdict::settled(&project).passes().to_owned();
    assert!(text.contains("classes are named like splits: `test` and `train`"), "{text}");
    project.edit("root       = \"photos\"", &format!("root = \"photos\"\n{}", setting(&text, "classes = ")));
    assert!(!Verdict::of(&project).passes().contains("classes are named like splits"));

    // A vehicle class among others is no split.
    let project = parted(&[("", &[("train", 8), ("bus", 8)])]);
    project.edit("batch_size = 5", "batch_size = 6");
    assert!(!Verdict::settled(&project).passes().contains("warning"));
    // Split folders inside class folders are none either.
    let project = parted(&[("ant", &[("train", 6), ("val", 4)]), ("bee", &[("train", 6), ("val", 4)])]);
    project.edit("batch_size = 5", "batch_size = 6");
    assert!(Verdict::settled(&project).passes().contains("which are not used as splits"));
}

#[test]
fn folders_of_systems_are_no_data_at_any_depth() {
    let project = Project::new();
    project.edit("batch_size = 5", "batch_size = 6");
    let before = project.plan(&[])["run_dir"].clone();
    for path in [
        "photos/red/@eaDir/00.png/SYNOPHOTO_THUMB_M.png",
        "photos/@eaDir/x/SYNOINDEX_M.png",
        "photos/#recycle/red/1.png",
        "photos/blue/deep/__MACOSX/1.png",
        "photos/lost+found/1.png",
        "photos/$RECYCLE.BIN/1.png",
        "photos/System Volume Information/1.png",
        "photos/green/.thumbnails/1.png",
    ] {
        project.image(path, [1, 2, 3], 1);
    }
    fs::write(project.path().join("photos/green/Thumbs.db"), "").unwrap();
    let verdict = Verdict::of(&project);
    let expected = "photos: system files and folders are ignored: `#recycle` (1), `$RECYCLE.BIN` (1), `@eaDir` (2), \
                    `System Volume Information` (1), `Thumbs.db` (1), `__MACOSX` (1), `lost+found` (1)";
    assert!(verdict.passes().contains(expected), "{}", verdict.text);
    assert_eq!(project.plan(&[])["run_dir"], before);

    // Copies in another format are at least reported.
    project.image("photos/red/small/00.png", [1, 2, 3], 1);
    let verdict = Verdict::of(&project);
    let expected =
        "1 image is at another folder depth than most images of the class, such as `red/small/00.png`";
    assert!(verdict.passes().contains(expected), "{}", verdict.text);
}

#[test]
fn a_folder_part_may_lack_a_class_on_purpose_and_every_hint_leads_there() {
    let three: &[(&str, u32)] = &[("ant", 4), ("bee", 4), ("cow", 4)];
    let folders = "folders = { train = \"train\", validation = \"val\" }";
    let project = parted(&[("train", three), ("val", TWO)]);
    project.edit(SPLIT, &format!("split = {{ {folders} }}"));
    project.edit("from = \"finetune@best\"", "from = \"finetune@best\"\nsplit = \"validation\"");
    let verdict = Verdict::of(&project);
    let (message, help) = verdict.error();
    assert_eq!(message, "the class `cow` is in `train` but not in `val`");
    // Each of the suggestions works.
    let (allowed, fewer) = (setting(help, " = false").to_owned(), setting(help, "classes = [").to_owned());
    let split = format!("split = {{ {folders} }}");
    let with = |more: &str, name: &str| {
        project.text().replace(&split, &format!("split = {{ {folders}{more} }}\n{name}"))
    };
    let plain = project.text();
    let allowing = format!(", {}", allowed.trim_start_matches("split."));
    project.write(&with("", &fewer));
    Verdict::of(&project).passes();
    project.write(&plain);
    project.write(&with(&allowing, ""));
    Verdict::of(&project).passes();

    // Listing all, or making an empty folder, leaves the same gap with the same suggestions.
    project.write(&plain);
    project.write(&with("", "classes = [\"ant\", \"bee\", \"cow\"]"));
    assert_eq!(setting(Verdict::of(&project).error().1, " = false"), allowed);
    fs::create_dir(project.path().join("photos/val/cow")).unwrap();
    let verdict = Verdict::of(&project);
    assert_eq!(verdict.error().0, "the class folder `val/cow` has no images");
    assert_eq!(setting(verdict.error().1, " = false"), allowed);

    // Training images are different: there the class must also be removed.
    for number in 0..4 {
        project.image(&format!("photos/val/dog/{number}.png"), [1, 2, 3], number);
    }
    project.write(&plain);
    project.write(&with(&allowing, ""));
    let verdict = Verdict::of(&project);
    assert_eq!(verdict.error().0, "the class `dog` is in `val` but not in `train`");
    project.write(&plain);
    project.write(&with(&allowing, "classes = [\"ant\", \"bee\", \"cow\", \"dog\"]"));
    let text = Verdict::of(&project).passes().to_owned();
    assert!(text.contains("no training image has `dog`"), "{text}");
}

#[test]
fn all_that_is_wrong_with_folders_comes_in_one_pass() {
    let project = parted(&[("", &[("ant", 4), ("bee", 4)])]);
    for class in ["cow", "dog"] {
        fs::create_dir(project.path().join("photos").join(class)).unwrap();
    }
    fs::write(project.path().join("photos/dog/1.psp"), "").unwrap();
    let verdict = Verdict::of(&project);
    let messages: Vec<&str> = verdict.errors.iter().map(|(message, _)| message.as_str()).collect();
    assert_eq!(messages, ["the class folder `cow` has no images", "the class folder `dog` has no images"]);
    assert!(verdict.errors[1].1.contains("convert files such as `dog/1.psp`"), "{}", verdict.text);
    assert_eq!(verdict.text.matches("root       = ").count(), 1, "the line is shown once: {}", verdict.text);
}

#[cfg(unix)]
mod unix {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    fn pipe(path: &Path) {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    }

    #[test]
    fn links_to_nowhere_are_told_as_such_and_may_be_skipped() {
        let project = Project::new();
        let at = |path: &str| project.path().join("photos").join(path);
        symlink("/nowhere/notes.txt", at("red/notes.txt")).unwrap();
        symlink("/nowhere/lock", at("red/.#lock")).unwrap();
        assert!(
            Verdict::of(&project).passes().contains("1 link points to a missing target (`red/notes.txt`)")
        );

        symlink("/nowhere/x.png", at("red/gone.png")).unwrap();
        pipe(&at("blue/pipe.png"));
        symlink("/dev/zero", at("blue/zero.png")).unwrap();
        let verdict = Verdict::of(&project);
        let mut messages: Vec<&str> = verdict.errors.iter().map(|(message, _)| message.as_str()).collect();
        messages.sort_unstable();
        assert_eq!(
            messages,
            [
                "cannot read `photos/blue/pipe.png`: it is a pipe",
                "cannot read `photos/blue/zero.png`: it is a device",
                "cannot read `photos/red/gone.png`: it is a link to `/nowhere/x.png`, which does not exist",
            ]
        );
        let skip = setting(&verdict.errors[0].1, "broken").to_owned();
        project.edit("resize     = 32", &format!("resize     = 32\n{skip}"));
        let text = Verdict::of(&project).passes().to_owned();
        assert!(text.contains("photos: 3 images cannot be read and are left out"), "{text}");
        assert!(text.contains("`blue/pipe.png`: it is a pipe"), "{text}");
        let output = project.defrost(&["validate", "colours.toml", "--json"]);
        let unreadable = serde_json::from_slice::<Value>(&output.stdout).unwrap()["unreadable"].clone();
        assert_eq!(unreadable.as_array().map(Vec::len), Some(3));
        assert_eq!(
            (&unreadable[0]["file"], &unreadable[0]["cause"]),
            (&"blue/pipe.png".into(), &"it is a pipe".into())
        );
        // The remaining images are the data set.
        let skipping = project.plan(&[])["run_dir"].clone();
        for path in ["red/gone.png", "blue/pipe.png", "blue/zero.png"] {
            fs::remove_file(at(path)).unwrap();
        }
        assert_eq!(project.plan(&[])["run_dir"], skipping);
    }

    #[test]
    fn what_explains_a_mistake_is_told_alone() {
        let project = parted(&[("", TWO)]);
        fs::create_dir(project.path().join("photos/cow")).unwrap();
        symlink("/nowhere/x.png", project.path().join("photos/cow/gone.png")).unwrap();
        let verdict = Verdict::of(&project);
        assert!(verdict.error().0.contains("cow/gone.png`: it is a link"), "{}", verdict.text);
        // Skipping it leaves the class without an image.
        project.edit("resize     = 32", "resize     = 32\nbroken = \"skip\"");
        assert_eq!(Verdict::of(&project).error().0, "the class folder `cow` has no images");
    }

    #[test]
    fn circles_lost_disks_and_names_of_another_encoding_are_all_told() {
        let project = Project::new();
        let at = |path: &str| project.path().join("photos").join(path);
        symlink(at("red"), at("red/again")).unwrap();
        symlink("/nowhere/disk", at("violet")).unwrap();
        let latin = at("blue").join(OsStr::from_bytes(b"caf\xe9.png"));
        fs::copy(at("blue/00.png"), &latin).unwrap();
        fs::write(at("blue").join(OsStr::from_bytes(b"caf\xe9.txt")), "no image").unwrap();
        let verdict = Verdict::of(&project);
        let messages: Vec<&str> = verdict.errors.iter().map(|(message, _)| message.as_str()).collect();
        assert_eq!(messages.len(), 3, "{}", verdict.text);
        for expected in [
            "cannot read `photos/violet`: it is a link to `/nowhere/disk`, which does not exist",
            "is not valid Unicode",
            "`photos/red/again` is a link to `photos/red`, which contains it",
        ] {
            assert!(
                messages.iter().any(|message| message.contains(expected)),
                "{expected}: {}",
                verdict.text
            );
        }
    }

    /// Opening any of these as a regular file would block.
    #[test]
    fn no_pipe_is_waited_for_wherever_a_file_is_named() {
        let project = Project::new();
        project.edit("batch_size = 5", "batch_size = 6");
        project.run(&[]);
        let at = |path: &str| project.path().join(path);
        pipe(&at("pipe.png"));
        let output = project.defrost(&["predict", "colours", "pipe.png", "photos/red/00.png"]);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(2) && text.contains("cannot read `pipe.png`: it is a pipe"),
            "{text}"
        );
        pipe(&at("photos/red/pipe.png"));
        let output = project.defrost(&["embed", "colours", "photos/red", "--out", "red.csv"]);
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(text.contains("pipe.png`: it is a pipe") && text.contains("12 embeddings"), "{text}");
        fs::remove_file(at("photos/red/pipe.png")).unwrap();

        // The same in a run directory, which may come from another machine.
        let state = project.run(&[]).directory.join("state");
        fs::remove_file(&state).unwrap();
        pipe(&state);
        let output = project.defrost(&["status", "colours"]);
        assert!(output.status.code().is_some(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::remove_file(&state).unwrap();

        // A system file that claims to be regular and empty.
        symlink("/proc/kmsg", at("photos/red/kernel.png")).unwrap();
        let output = project.defrost(&["run", "colours.toml"]);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains("kernel.png"), "{text}");
    }
}
