//! Pipelines that name weights: what is checked before, fetched by `run`, recorded, and shared with local files.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::User;
use super::server::{COMMIT, FakeHub, Server, bytes, sha256};

const PIPELINE: &str = r#"name = "net"

[data.photos]
format     = "image_folder"
root       = "photos"
classes    = ["a", "b"]
image_size = 32
split      = { validation = 0.5, seed = 0 }

[model.net]
arch = "efficientnet_lite0"

[stage.pretrained]
kind   = "load_weights"
file   = "FILE"
reinit = ["@head"]
"#;

fn weights() -> Vec<u8> {
    fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/quickstart/efficientnet_lite0.safetensors"),
    )
    .unwrap()
}

/// A user with a project.
fn user(endpoint: &str, file: &str) -> User {
    let user = User::new(endpoint);
    for class in ["a", "b"] {
        let folder = user.path().join("photos").join(class);
        fs::create_dir_all(&folder).unwrap();
        for number in 0..6u8 {
            let image = image::RgbImage::from_pixel(8, 8, image::Rgb([number * 20, 9, 9]));
            image.save(folder.join(format!("{number}.png"))).unwrap();
        }
    }
    fs::create_dir(user.path().join("runs")).unwrap();
    write(&user, file);
    user
}

fn write(user: &User, file: &str) {
    fs::write(user.path().join("net.toml"), PIPELINE.replace("FILE", file)).unwrap();
}

fn document(user: &User, arguments: &[&str]) -> Value {
    let ended = user.run(&[arguments, &["--json"]].concat());
    assert_eq!(ended.code, 0, "{ended:?}");
    serde_json::from_str(&ended.out).unwrap()
}

#[test]
fn a_run_fetches_what_it_names_and_shares_stages_with_the_same_local_file() {
    let fake = FakeHub::new(vec![("model.safetensors", weights())]);
    let user = user(&fake.hub.address, "hf://me/net");
    let valid = user.run(&["validate", "net.toml"]);
    assert!(valid.code == 0 && valid.out.contains("`hf://me/net` is not fetched yet"), "{valid:?}");
    assert_eq!(document(&user, &["validate", "net.toml"])["unfetched"], serde_json::json!(["hf://me/net"]));
    let planned = user.run(&["plan", "net.toml"]);
    assert!(
        planned.code == 0 && planned.out.contains("`defrost run net.toml` fetches weights first"),
        "{planned:?}"
    );
    let plan = document(&user, &["plan", "net.toml"]);
    assert_eq!((&plan["run_dir"], &plan["stages"][0]["status"]), (&Value::Null, &"miss".into()));
    assert_eq!(user.run(&["preview", "net.toml"]).code, 2);
    assert_eq!(fake.hub.requests().len(), 0, "only `run` opens connections");

    let run = document(&user, &["run", "net.toml"]);
    let folder = Path::new(run["run_dir"].as_str().unwrap()).to_owned();
    let resolved = fs::read_to_string(folder.join("resolved.toml")).unwrap();
    assert!(resolved.contains(&format!("file = \"hf://me/net@{COMMIT}/model.safetensors\"")), "{resolved}");
    assert!(resolved.contains(&format!("sha256 = \"{}\"", sha256(&weights()))), "{resolved}");
    assert!(!resolved.contains(user.path().to_str().unwrap()), "{resolved}");

    // The same bytes have the same keys, from wherever they are.
    fs::write(user.path().join("local.safetensors"), weights()).unwrap();
    for file in ["local.safetensors", &format!("hf://me/net@{COMMIT}/model.safetensors")] {
        write(&user, file);
        let plan = document(&user, &["plan", "net.toml", "--no-estimates"]);
        assert_eq!(
            (&plan["stages"][0]["status"], &plan["run_dir"]),
            (&"hit".into(), &run["run_dir"]),
            "{file}"
        );
    }
    // Names without a commit are the settings of the run too.
    write(&user, "hf://me/net");
    let status = user.run(&["status", "net.toml"]);
    assert!(status.code == 0 && !status.text.contains("other settings"), "{status:?}");
    // The record runs as it is, and fetches nothing.
    fs::copy(folder.join("resolved.toml"), user.path().join("again.toml")).unwrap();
    let again = document(&user, &["plan", "again.toml", "--no-estimates"]);
    assert_eq!((&again["stages"][0]["status"], &again["run_dir"]), (&"hit".into(), &run["run_dir"]));
    assert_eq!(fake.storage.count("GET"), 1);
}

#[test]
fn other_errors_of_a_file_are_reported_before_anything_is_fetched() {
    let fake = FakeHub::new(vec![("model.safetensors", weights())]);
    let user = user(&fake.hub.address, "hf://me/net");
    let text = fs::read_to_string(user.path().join("net.toml")).unwrap();
    fs::write(user.path().join("net.toml"), text.replace("@head", "@heads")).unwrap();
    assert_eq!(user.run(&["run", "net.toml"]).code, 2);
    assert_eq!(fake.hub.requests().len(), 0);
}

#[test]
fn a_digest_is_checked_for_fetched_and_local_files() {
    let digest = sha256(&weights());
    let server = Server::new(|request| bytes(request, &weights()));
    let address = format!("{}/net.safetensors", server.address);
    let user = user("http://127.0.0.1:9", &address);
    fs::write(user.path().join("local.safetensors"), weights()).unwrap();
    user.fetched(&address);
    for file in [address.as_str(), "local.safetensors"] {
        for (wanted, code) in [(digest.clone(), 0), (digest.to_uppercase(), 0), ("0".repeat(64), 2)] {
            write(&user, &format!("{file}\"\nsha256 = \"{wanted}"));
            let ended = user.run(&["validate", "net.toml"]);
            assert_eq!(ended.code, code, "{ended:?}");
            if code == 2 {
                assert!(ended.text.contains(&format!("has another digest: {digest}")), "{ended:?}");
                assert!(ended.text.contains("sha256 = \"000"), "the place is shown\n{}", ended.text);
            }
        }
    }
}

#[test]
fn weights_of_a_file_are_fetched_by_hand_without_its_data() {
    let fake = FakeHub::new(vec![("model.safetensors", weights())]);
    let user = user(&fake.hub.address, "hf://me/net");
    fs::remove_dir_all(user.path().join("photos")).unwrap();
    let fetched = user.run(&["weights", "fetch", "net.toml"]);
    assert!(fetched.code == 0 && fetched.out.contains("snapshots"), "{fetched:?}");
    write(&user, "local.pth");
    let nothing = user.run(&["weights", "fetch", "net.toml"]);
    assert!(nothing.code == 0 && nothing.text.contains("all weights are local files"), "{nothing:?}");
}

#[test]
fn names_with_errors_are_refused_where_they_are_written() {
    let user = user("http://127.0.0.1:9", "hf:/me/net");
    for (file, hint) in [
        ("hf:/me/net", "write `hf://me/net`"),
        ("huggingface.co/me/net", "write `hf://me/net`"),
        ("s3://me/net.pth", "`hf://` and `https://` are fetched"),
        ("timm/resnet50.a1_in1k", "write `hf://timm/resnet50.a1_in1k`"),
    ] {
        write(&user, file);
        let ended = user.run(&["validate", "net.toml"]);
        assert!(ended.code == 2 && ended.text.contains(hint), "{ended:?}");
        assert!(ended.text.contains(&format!("file   = \"{file}\"")), "{ended:?}");
    }
}

#[test]
fn a_starter_pipeline_takes_a_name() {
    let fake = FakeHub::new(vec![("model.safetensors", weights())]);
    let user = user(&fake.hub.address, "x");
    let init = user.run(&[
        "init",
        "a",
        "--data",
        "photos",
        "--weights",
        "hf://timm/vit_small_patch16_224.augreg_in1k",
    ]);
    assert_eq!(init.code, 0, "{init:?}");
    let text = fs::read_to_string(user.path().join("a/pipeline.toml")).unwrap();
    for part in ["\"hf://timm/vit_small_patch16_224.augreg_in1k\"", "\"vit_s_16\"", "\"inception\""] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let wrong = user.run(&["init", "b", "--data", "photos", "--weights", "hf:/me/net"]);
    assert!(wrong.code == 2 && wrong.text.contains("write `hf://me/net`"), "{wrong:?}");
    // What is fetched is checked.
    user.fetched("hf://me/net");
    let other = ["init", "c", "--data", "photos", "--weights", "hf://me/net", "--arch", "resnet18"];
    let refused = user.run(&other);
    assert!(refused.code == 2 && refused.text.contains("use `--arch efficientnet_lite0`"), "{refused:?}");
    let without = user.run(&["init", "d", "--data", "photos"]);
    assert!(without.code == 0 && without.out.contains("`defrost weights`"), "{without:?}");
}
