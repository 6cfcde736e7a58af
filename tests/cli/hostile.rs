//! Files that are huge, endless or not regular, and names that would manipulate the terminal.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use serde_json::Value;

const HEAD: &str = r#"name = "t"
[data.d]
format = "image_folder"
root = "images"
classes = ["cat", "dog"]
image_size = 32
resize = 32
[model.m]
arch = "resnet18"
[stage.start]
kind = "init_weights"
"#;

const TRAIN: &str =
    "kind = \"train\"\nepochs = 1\ntrain = [\"@head\"]\noptimizer = { kind = \"sgd\", lr = 0.1 }\n";

/// Runs the program with a time limit that a quadratic algorithm would exceed.
fn defrost(folder: &Path, args: &[&str]) -> (i32, Vec<u8>, Vec<u8>) {
    let begin = Instant::now();
    let mut command = Command::cargo_bin("defrost").unwrap();
    let output = command.current_dir(folder).args(args).timeout(Duration::from_secs(20)).output().unwrap();
    assert!(output.status.code().is_some(), "{args:?} was ended after {:?}", begin.elapsed());
    (output.status.code().unwrap(), output.stdout, output.stderr)
}

/// For a pipeline: exit code, errors, the count of further errors, and the size of the text.
fn validate(text: &str) -> (i32, usize, u64, usize) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("p.toml"), text).unwrap();
    let (code, stdout, stderr) = defrost(folder.path(), &["validate", "p.toml", "--no-inputs", "--json"]);
    let document: Value = serde_json::from_slice(&stdout).unwrap();
    let count = document["errors"].as_array().unwrap().len();
    (code, count, document["more"].as_u64().unwrap(), stderr.len())
}

fn stage(name: &str, more: &str) -> String {
    format!("[stage.{name}]\n{TRAIN}{more}\n")
}

fn repeated(count: usize, one: impl Fn(usize) -> String) -> String {
    (0..count).map(one).collect()
}

#[test]
fn of_many_errors_the_first_are_shown_and_the_others_counted() {
    let fit = stage("fit", "from = \"start\"");
    for (text, all) in [
        (format!("{HEAD}{fit}{}", repeated(32_000, |n| format!("k{n} = 1\n"))), 32_000),
        (
            format!(
                "{HEAD}{fit}augment = {{ {} }}\n",
                repeated(20_000, |n| format!("k{n} = 1, ")).trim_end_matches(", ")
            ),
            20_000,
        ),
        (format!("{HEAD}{}", repeated(3000, |n| stage(&format!("s{n}"), &format!("from = \"q{n}\"")))), 3000),
        (format!("{HEAD}{fit}{}", repeated(20_000, |n| format!("x{n} = 1.e-3\n"))), 20_000),
        (HEAD.replace("[\"cat\", \"dog\"]", &format!("[{}]", "\"c\", ".repeat(100_000))), 99_999),
    ] {
        let (code, shown, more, bytes) = validate(&text);
        assert_eq!((code, shown, more), (2, 50, all - 50));
        assert!(bytes < 60_000, "{bytes} bytes are shown");
    }
}

#[test]
fn what_is_long_and_right_is_checked_in_time() {
    let fit = stage("fit", "from = \"start\"");
    let mut chain = HEAD.to_owned();
    let mut above = "start".to_owned();
    for place in 0..2000 {
        let name = format!("s{place}");
        chain += &stage(&name, &format!("from = \"{above}\""));
        above = format!("{name}@last");
    }
    assert_eq!(validate(&chain).0, 0);
    let tables = repeated(10_000, |n| {
        format!("[data.d{n}]\nformat = \"image_folder\"\nroot = \"r\"\n[model.m{n}]\narch = \"resnet18\"\n")
    });
    let named = fit.replace("from", "data = \"d\"\nfrom");
    let first = HEAD.replace("kind = \"init", "data = \"d\"\nmodel = \"m\"\nkind = \"init");
    assert_eq!(validate(&format!("{first}{named}{tables}")).0, 0);
    let classes = repeated(20_000, |n| format!("\"c{n}\", "));
    let weights = repeated(20_000, |n| format!("c{n} = 1, "));
    let text = format!(
        "{}{fit}loss = {{ kind = \"cross_entropy\", class_weights = {{ {} }} }}\n",
        HEAD.replace("\"cat\", \"dog\"", &classes),
        weights.trim_end_matches(", ")
    );
    assert_eq!(validate(&text).0, 0);
    let cases =
        repeated(900, |n| format!("{{ label = \"l{n}\", set = {{ \"stage.fit.epochs\" = {} }} }}, ", n + 1));
    assert_eq!(validate(&format!("{HEAD}{fit}[[matrix]]\ncases = [{cases}]\n")).0, 0);
}

#[test]
fn what_is_long_and_wrong_is_refused_in_time() {
    let fit = stage("fit", "from = \"start\"");
    let patterns = |list: String| format!("{HEAD}{}", fit.replace("[\"@head\"]", &format!("[{list}]")));
    let circle = repeated(2000, |n| stage(&format!("s{n}"), &format!("from = \"s{}@last\"", (n + 1) % 2000)));
    for (what, text) in [
        ("redundant patterns", patterns("\"@head\", ".repeat(100_000))),
        ("unmatched patterns", patterns(repeated(100_000, |n| format!("\"l{n}\", ")))),
        ("wrong patterns", patterns(repeated(100_000, |n| format!("\"re:({n}\", ")))),
        ("groups", format!("{HEAD}{fit}groups = [{}]\n", "{ match = [\"fc\"], lr = 0.1 }, ".repeat(20_000))),
        (
            "unfreeze",
            format!(
                "{HEAD}{fit}unfreeze = [{}]\n",
                repeated(20_000, |n| format!("{{ after_epochs = {}, last = 1 }}, ", n + 1))
            ),
        ),
        (
            "values",
            format!(
                "{HEAD}{fit}[[matrix]]\npath = \"stage.fit.epochs\"\nvalues = [{}]\n",
                repeated(100_000, |n| format!("{}, ", n + 1))
            ),
        ),
        (
            "axes",
            format!(
                "{HEAD}{fit}{}",
                repeated(20_000, |n| format!(
                    "[[matrix]]\nname = \"a{n}\"\npath = \"stage.fit.x{n}\"\nvalues = [1]\n"
                ))
            ),
        ),
        ("arrays in arrays", format!("{HEAD}{fit}x = {}{}\n", "[".repeat(100_000), "]".repeat(100_000))),
        ("tables in tables", format!("{HEAD}{fit}x = {}1{}\n", "{ a = ".repeat(50_000), " }".repeat(50_000))),
        ("dotted keys", format!("{HEAD}{fit}{}a = 1\n", "a.".repeat(50_000))),
        ("dotted tables", format!("{HEAD}{fit}[{}a]\n", "a.".repeat(50_000))),
        ("dotted patterns", patterns(format!("\"{}a\"", "a.".repeat(50_000)))),
        ("syntax", format!("{HEAD}{fit}{}", "= \n".repeat(100_000))),
        ("keys twice", format!("{HEAD}{fit}{}", "epochs = 3\n".repeat(20_000))),
        ("tables twice", format!("{HEAD}{}", fit.repeat(5000))),
        ("a circle", format!("{HEAD}{circle}")),
        ("one long line", format!("{HEAD}{fit}x = [{}]\n", "\"yyyyyyyyy\", ".repeat(200_000))),
        ("one long word", HEAD.replace("name = \"t\"", &format!("name = \"{}\"", "x".repeat(3_000_000)))),
        ("one long key", format!("{HEAD}{fit}{} = 1\n", "x".repeat(3_000_000))),
        ("commas", format!("{HEAD}{fit}augment = {{ rotation = 1{} }}\n", ",".repeat(100_000))),
    ] {
        let (code, shown, _, bytes) = validate(&text);
        assert!(code == 2 && (1..=50).contains(&shown) && bytes < 60_000, "{what}: {code}, {shown}, {bytes}");
    }
    let long = format!("{HEAD}{fit}# {}\n", "y".repeat(5 << 20));
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("p.toml"), long).unwrap();
    let (code, _, stderr) = defrost(folder.path(), &["validate", "p.toml"]);
    let stderr = String::from_utf8(stderr).unwrap();
    assert!(code == 2 && stderr.contains("cannot read `p.toml`: it has more than 4 MiB"), "{stderr}");
}

#[test]
fn many_arguments_are_read_in_time() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("p.toml"), format!("{HEAD}{}", stage("fit", "from = \"start\""))).unwrap();
    let mut sets: Vec<String> = (0..4000).map(|n| format!("stage.fit.k{n}=1")).collect();
    sets.extend((0..4000).map(|n| format!("wrong{n}=1")));
    let mut args = vec!["validate", "p.toml", "--no-inputs", "--json"];
    sets.iter().for_each(|set| args.extend(["--set", set]));
    let (code, stdout, _) = defrost(folder.path(), &args);
    let document: Value = serde_json::from_slice(&stdout).unwrap();
    assert_eq!((code, document["more"].as_u64()), (2, Some(7950)));
}

#[cfg(unix)]
#[test]
fn only_regular_files_are_pipelines() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    assert!(std::process::Command::new("mkfifo").arg(path("pipe.toml")).status().unwrap().success());
    std::os::unix::fs::symlink("/dev/zero", path("zero.toml")).unwrap();
    std::os::unix::fs::symlink("pipe.toml", path("link.toml")).unwrap();
    let base = format!("{HEAD}{}", stage("fit", "from = \"start\""));
    let said = |args: &[&str]| {
        let (code, _, stderr) = defrost(folder.path(), args);
        assert_eq!(code, 2, "{args:?}");
        String::from_utf8(stderr).unwrap()
    };
    for (name, what) in [
        ("pipe.toml", "a pipe"),
        ("link.toml", "a pipe"),
        ("zero.toml", "a device"),
        ("/dev/zero", "a device"),
    ] {
        for command in ["validate", "plan", "params", "run"] {
            let text = said(&[command, name]);
            assert!(text.contains(&format!("cannot read `{name}`: it is {what}")), "{text}");
        }
        fs::write(path("over.toml"), format!("extends = \"{name}\"\n")).unwrap();
        assert!(said(&["validate", "over.toml"]).contains(&format!("cannot read `{name}`: it is {what}")));
        let loads = base.replace(
            "kind = \"init_weights\"",
            &format!("kind = \"load_weights\"\npipeline = \"{name}\"\nstage = \"a@last\""),
        );
        fs::write(path("loads.toml"), loads).unwrap();
        assert!(said(&["validate", "loads.toml"]).contains("is not a file"));
        let pairs = format!(
            "{base}[stage.test]\nkind = \"evaluate\"\nfrom = \"fit@last\"\nverification = {{ pairs = \"{name}\" }}\n"
        );
        fs::write(path("pairs.toml"), pairs).unwrap();
        assert!(said(&["validate", "pairs.toml"]).contains("is not a file"));
        assert!(!said(&["status", name]).is_empty());
    }
    let shell = "defrost validate <(cat p.toml)".replace("defrost", env!("CARGO_BIN_EXE_defrost"));
    fs::write(path("p.toml"), &base).unwrap();
    let output = Command::new("bash").current_dir(folder.path()).args(["-c", &shell]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("it is a pipe") && text.contains("help: write it to a file first"), "{text}");
}

/// A terminal interprets these, or displays other text.
const FORGED: &str = "cat\u{202e}\u{1b}[2J\u{7}\nerror: forged\u{200f}";

/// Nothing is hidden, and no name starts a line.
fn assert_visible(bytes: &[u8], what: &str) {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    for character in ['\u{202e}', '\u{200f}', '\u{7}'] {
        assert!(!text.contains(character), "{what} has {character:?}:\n{text}");
    }
    assert!(!text.contains("\u{1b}[2J"), "{what} clears the screen");
    assert!(!text.lines().any(|line| line.starts_with("error: forged")), "{what} has a forged line:\n{text}");
}

#[test]
fn names_in_a_pipeline_cannot_write_on_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let escaped = FORGED.replace('\n', "\\n").replace('\u{1b}', "\\u001b").replace('\u{7}', "\\u0007");
    let quoted = format!("\"{escaped}\"");
    let fit = stage("fit", "from = \"start\"");
    let whole = format!("{HEAD}{fit}");
    for (what, text) in [
        ("key", format!("{whole}{quoted} = 1\n")),
        ("name", whole.replace("\"t\"", &quoted)),
        ("value", whole.replace("resnet18", &escaped)),
        ("class", whole.replace("\"dog\"", &format!("{quoted}, {quoted}"))),
        (
            "weight",
            format!("{whole}loss = {{ kind = \"cross_entropy\", class_weights = {{ {quoted} = 1 }} }}\n"),
        ),
        ("stage", whole.replace("[stage.fit]", &format!("[stage.{quoted}]"))),
        ("from", whole.replace("from = \"start\"", &format!("from = {quoted}"))),
        ("pattern", whole.replace("@head", &escaped)),
        ("path", whole.replace("\"images\"", &quoted)),
        ("extends", format!("extends = {quoted}\n{whole}")),
        ("variable", whole.replace("\"images\"", &format!("\"${{{escaped}}}\""))),
        ("label", format!("{whole}[[matrix]]\ncases = [{{ label = {quoted}, set = {{ seed = 1 }} }}]\n")),
        ("values", format!("{whole}[[matrix]]\npath = \"stage.fit.data\"\nvalues = [{quoted}]\n")),
        ("comment", format!("{whole}x = 1 # \u{202e}\u{200f}\n")),
        ("syntax", format!("{whole}x = 1 1 # \u{202e}\u{200f}\n")),
    ] {
        fs::write(folder.path().join("p.toml"), text).unwrap();
        for command in [
            &["validate", "p.toml"][..],
            &["params", "p.toml"],
            &["plan", "p.toml"],
            &["validate", "--json", "p.toml"],
        ] {
            let (code, stdout, stderr) = defrost(folder.path(), command);
            // Parameters are shown without reading the folder.
            assert!(code == 2 || what == "path", "{what}");
            assert_visible(&stderr, what);
            if !command.contains(&"--json") {
                assert_visible(&stdout, what);
            }
        }
    }
    // JSON contains the exact text.
    let (_, stdout, _) = defrost(
        folder.path(),
        &["validate", "--json", "--no-inputs", "p.toml", "--set", &format!("name={quoted}")],
    );
    assert!(serde_json::from_slice::<Value>(&stdout).is_ok());
    for argument in ["--set", "--only", "--device", "--nonsense"] {
        let (_, stdout, stderr) = defrost(folder.path(), &["validate", "p.toml", argument, FORGED]);
        assert_visible(&stderr, argument);
        assert_visible(&stdout, argument);
    }
    for command in ["run", "status", "list", "verify", "compare", FORGED] {
        let (_, stdout, stderr) = defrost(folder.path(), &[command, FORGED]);
        assert_visible(&stderr, command);
        assert_visible(&stdout, command);
    }
}

/// A run with such names of classes, files and folders, shown by every command.
#[cfg(unix)]
#[test]
fn names_of_classes_and_files_cannot_write_on_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let (cat, dog) = (FORGED.to_owned(), format!("dog{}", &FORGED[3..]));
    let photo = "p\u{202e}\nerror: forged.png";
    for (class, seed) in [(&cat, 0u8), (&dog, 1)] {
        fs::create_dir_all(folder.path().join("images").join(class)).unwrap();
        for place in 0..6u8 {
            let mut picture = image::RgbImage::new(32, 32);
            picture
                .pixels_mut()
                .enumerate()
                .for_each(|(at, pixel)| pixel.0 = [(at as u8) ^ place, seed * 200, place]);
            picture.save(folder.path().join("images").join(class).join(format!("{place}{photo}"))).unwrap();
        }
    }
    let mut text = HEAD.replace("classes = [\"cat\", \"dog\"]\n", "");
    text += &stage("fit", "from = \"start\"\nbatch_size = 3");
    let _ = write!(
        text,
        "[stage.test]\nkind = \"evaluate\"\nfrom = \"fit@last\"\nsplit = \"train\"\n[run]\nthreads = 1\n"
    );
    fs::write(folder.path().join("p.toml"), text).unwrap();
    let image = format!("images/{cat}/0{photo}");
    let folder_of_cats = format!("images/{cat}");
    for command in [
        &["validate", "p.toml"][..],
        &["plan", "p.toml", "--no-estimates"],
        &["params", "p.toml"],
        &["run", "p.toml"],
        &["list"],
        &["status", "p.toml"],
        &["verify", "p.toml"],
        &["compare", "p.toml", "--out", "out"],
        &["predict", "p.toml", &image],
        &["predict", "p.toml", &folder_of_cats],
        &["report", "p.toml"],
        &["gc"],
    ] {
        let (code, stdout, stderr) = defrost(folder.path(), command);
        assert_eq!(code, 0, "{command:?}: {}", String::from_utf8_lossy(&stderr));
        assert_visible(&stdout, command[0]);
        assert_visible(&stderr, command[0]);
    }
    let (_, stdout, _) = defrost(folder.path(), &["predict", "--json", "p.toml", &image]);
    let document: Value = serde_json::from_slice(&stdout).unwrap();
    assert_eq!(document["predictions"][0]["file"], Value::String(image));
    for file in walkdir::WalkDir::new(folder.path()).into_iter().flatten() {
        let name = file.file_name().to_string_lossy();
        if name == "log.txt" || name.ends_with(".html") || name.ends_with(".svg") {
            assert_visible(&fs::read(file.path()).unwrap(), &name);
        }
    }
}
