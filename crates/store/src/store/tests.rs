mod index;
mod unlocked;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::digest::Digest;
use crate::events::Interrupt;

const WANTED: VariantRequest = VariantRequest::Exactly("scalar");

fn key() -> Digest {
    Digest::of(b"a stage")
}

fn work(key: &Digest) -> AttemptRequest<'_> {
    AttemptRequest { key, variant: "scalar", uses: &[], forced: false, series: None }
}

fn begin(store: &Store, work: AttemptRequest) -> Attempt {
    match store.begin(work, &Interrupt::default(), &mut || {}).unwrap() {
        AttemptStart::Working(attempt) => attempt,
        AttemptStart::Published(finished) => panic!("already published: {finished:?}"),
    }
}

fn output(folder: &Path, files: &[(&str, &str)]) -> PathBuf {
    for (name, text) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder.to_owned()
}

fn publish(store: &Store, scratch: &Path, variant: &str, text: &str) -> crate::Result<FinishedStage> {
    store.publish(&key(), variant, &output(scratch, &[("weights", text), ("plots/a.svg", "<svg/>")]))
}

/// Changes bytes of a read-only file, as a privileged user or a failing disk might.
fn damage(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::remove_file(path).unwrap();
    fs::write(path, bytes.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>()).unwrap();
}

#[test]
fn a_published_stage_is_found_read_only_and_under_its_variant() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path());
    assert_eq!(store.lookup(&key(), WANTED).unwrap(), Lookup::Missing);
    let cuda = publish(&store, &root.path().join("a"), "cuda sm_90 cudnn 9.1", "cuda").unwrap();
    assert_eq!(store.lookup(&key(), WANTED).unwrap(), Lookup::Missing);
    let any = |preferring| store.lookup(&key(), VariantRequest::Any { preferring }).unwrap().found().unwrap();
    assert_eq!(any("scalar"), cuda);
    let scalar = publish(&store, &root.path().join("b"), "scalar", "scalar").unwrap();
    assert_eq!(any("scalar"), scalar);
    assert_eq!(any("cuda sm_90 cudnn 9.1"), cuda);
    assert_eq!(scalar.files.keys().collect::<Vec<_>>(), ["plots/a.svg", "weights"]);
    assert_eq!(scalar.files["weights"], Digest::of(b"scalar"));
    assert!(fs::metadata(scalar.dir.join("weights")).unwrap().permissions().readonly());
    assert!(!root.path().join("b").exists());
}

#[test]
fn whoever_publishes_the_same_bytes_again_succeeds() {
    let root = tempfile::tempdir().unwrap();
    let barrier = Barrier::new(8);
    let found: Vec<FinishedStage> = std::thread::scope(|scope| {
        let publishers: Vec<_> = (0..8)
            .map(|i| {
                let (barrier, root) = (&barrier, root.path());
                scope.spawn(move || {
                    let store = Store::open(root);
                    barrier.wait();
                    publish(&store, &root.join(format!("mine-{i}")), "scalar", "same").unwrap()
                })
            })
            .collect();
        publishers.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(found.windows(2).all(|pair| pair[0] == pair[1]));
    assert!((0..8).all(|i| !root.path().join(format!("mine-{i}")).exists()));
}

#[test]
fn other_bytes_under_one_key_are_an_error_that_keeps_and_names_both() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path());
    let first = publish(&store, &root.path().join("a"), "scalar", "one").unwrap();
    let error = publish(&store, &root.path().join("b"), "scalar", "two").unwrap_err();
    let kept = root.path().join(".work").join(key().to_string()).join("conflict-1");
    assert!(error.message.contains("`weights`") && !error.message.contains("a.svg"), "{error}");
    assert!(error.message.contains(&*first.dir.to_string_lossy()), "{error}");
    assert!(error.message.contains(&*kept.to_string_lossy()), "{error}");
    assert_eq!(fs::read(kept.join("weights")).unwrap(), b"two");
    assert_eq!(store.lookup(&key(), WANTED).unwrap(), Lookup::Found(first));
}

#[test]
fn a_damaged_object_is_a_miss_and_publishing_heals_it() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path());
    let finished = publish(&store, &root.path().join("a"), "scalar", "good").unwrap();
    type Damage = fn(&Path);
    let damages: [(Damage, &str); 5] = [
        (|dir| damage(&dir.join("weights")), "`weights` changed since it was published"),
        (|dir| fs::remove_file(dir.join("weights")).unwrap(), "no such file"),
        (
            |dir| fs::write(dir.join("plots/new"), "").and(fs::remove_dir_all(dir.join("plots"))).unwrap(),
            "no such file",
        ),
        (|dir| damage(&dir.join("object.json")), "object.json"),
        (
            |dir| {
                fs::rename(dir.join("weights"), dir.join("elsewhere")).unwrap();
                std::os::unix::fs::symlink("elsewhere", dir.join("weights")).unwrap();
            },
            "not a plain file",
        ),
    ];
    for (spoil, told) in damages {
        spoil(&finished.dir);
        match Store::open(root.path()).lookup(&key(), WANTED).unwrap() {
            Lookup::Damaged { dir, reason } => {
                assert_eq!(dir, finished.dir);
                assert!(reason.contains(told), "{reason}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(publish(&store, &root.path().join("again"), "scalar", "good").unwrap(), finished);
        assert_eq!(store.lookup(&key(), WANTED).unwrap(), Lookup::Found(finished.clone()));
    }
}

#[test]
fn a_stage_that_leaves_a_link_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let folder = output(&root.path().join("a"), &[("weights", "x")]);
    std::os::unix::fs::symlink("/etc/hostname", folder.join("link")).unwrap();
    let error = Store::open(root.path()).publish(&key(), "scalar", &folder).unwrap_err();
    assert!(error.message.contains("`link`"), "{error}");
}

#[test]
fn two_at_the_same_stage_compute_it_once() {
    let root = tempfile::tempdir().unwrap();
    let computed = AtomicUsize::new(0);
    let waited = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let store = Store::open(root.path());
                let key = key();
                let mut waiting = || _ = waited.fetch_add(1, Ordering::Relaxed);
                if let AttemptStart::Working(attempt) =
                    store.begin(work(&key), &Interrupt::default(), &mut waiting).unwrap()
                {
                    computed.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(150));
                    output(&attempt.output().unwrap(), &[("weights", "x")]);
                    attempt.finish(&store, false).unwrap();
                }
            });
        }
    });
    assert_eq!((computed.into_inner(), waited.into_inner()), (1, 3));
    assert_eq!(disk::entries(&root.path().join(".work")).unwrap(), Vec::<String>::new());
}

#[test]
fn waiting_ends_when_interrupted() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path());
    let key = key();
    let _held = begin(&store, work(&key));
    let interrupt = Interrupt::default();
    let Err(error) = store.begin(work(&key), &interrupt, &mut || interrupt.request()) else {
        panic!("the attempt was not ours to begin");
    };
    assert_eq!(error.kind, crate::error::ErrorKind::Interrupted);
}

fn checkpoint(attempt: &Attempt, text: &str) -> CheckpointFolder {
    attempt
        .write_checkpoint(|dir| {
            output(dir, &[("state", text), ("best", "b")]);
            Ok(())
        })
        .unwrap()
}

#[test]
fn an_attempt_resumes_from_its_newest_whole_checkpoint() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path());
    let key = key();
    let mut attempt = begin(&store, work(&key));
    assert_eq!(attempt.newest_checkpoint().unwrap(), None);
    assert!(!store.resumable(&key, "scalar").unwrap());
    let written: Vec<CheckpointFolder> =
        ["one", "two", "three"].map(|text| checkpoint(&attempt, text)).into();
    assert!(!written[0].dir.exists() && written[1].dir.exists());
    let half = written[2].dir.with_file_name(format!("{}1", disk::UNFINISHED));
    output(&half, &[("state", "fo")]);
    drop(attempt);
    assert!(store.resumable(&key, "scalar").unwrap() && !store.resumable(&key, "x86-v4").unwrap());

    let mut attempt = begin(&store, work(&key));
    assert_eq!(attempt.newest_checkpoint().unwrap().as_ref(), Some(&written[2]));
    assert!(!half.exists());
    assert_eq!(fs::read(written[2].dir.join("state")).unwrap(), b"three");
    // Truncated, as after a power failure.
    fs::remove_file(written[2].dir.join("best")).unwrap();
    assert_eq!(attempt.newest_checkpoint().unwrap().as_ref(), Some(&written[1]));
    assert_eq!(attempt.notes(), ["`checkpoint-000003` is damaged and is skipped"]);
    damage(&written[1].dir.join("state"));
    assert_eq!(attempt.newest_checkpoint().unwrap(), None);
    assert_eq!(checkpoint(&attempt, "four").number, 4);
}

#[test]
fn a_failed_checkpoint_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let attempt = begin(&Store::open(root.path()), work(&key()));
    let before = disk::entries(&root.path().join(".work").join(key().to_string()).join("000001")).unwrap();
    let failed = attempt.write_checkpoint(|dir| {
        output(dir, &[("state", "half")]);
        Err(crate::Error::failed("no space"))
    });
    assert_eq!(failed.unwrap_err().message, "no space");
    let after = disk::entries(&root.path().join(".work").join(key().to_string()).join("000001")).unwrap();
    assert_eq!(before, after);
}

#[test]
fn another_variant_or_an_unforced_attempt_is_not_resumed() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path());
    let key = key();
    checkpoint(&begin(&store, AttemptRequest { variant: "x86-v3", ..work(&key) }), "v3");
    let mut attempt = begin(&store, work(&key));
    assert_eq!(attempt.newest_checkpoint().unwrap(), None);
    assert!(attempt.notes()[0].contains("`x86-v3`"), "{:?}", attempt.notes());
    checkpoint(&attempt, "unforced");
    drop(attempt);
    let forced = AttemptRequest { forced: true, ..work(&key) };
    let mut attempt = begin(&store, forced);
    assert_eq!(attempt.newest_checkpoint().unwrap(), None);
    let written = checkpoint(&attempt, "forced");
    drop(attempt);
    assert_eq!(begin(&store, forced).newest_checkpoint().unwrap(), Some(written));
}

#[test]
fn duplicates_share_or_copy_bytes_and_are_read_only() {
    let root = tempfile::tempdir().unwrap();
    let source = root.path().join("source");
    fs::write(&source, "bytes").unwrap();
    for target in ["new/copy", "new/copy", "other"] {
        disk::duplicate(&source, &root.path().join(target)).unwrap();
        let target = fs::symlink_metadata(root.path().join(target)).unwrap();
        assert!(target.is_file() && target.permissions().readonly());
    }
    fs::write(root.path().join("old"), "old").unwrap();
    disk::duplicate(&source, &root.path().join("old")).unwrap();
    assert_eq!(fs::read(root.path().join("old")).unwrap(), b"bytes");
    assert_eq!(disk::files_below(root.path()).unwrap(), ["new/copy", "old", "other", "source"]);
}
