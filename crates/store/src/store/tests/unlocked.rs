//! Attempts whose holder is unknown, and leftovers of finished stages.

use super::*;
use crate::store::lock::seam::answering;

/// Simulates NFS without its lock service.
const ENOLCK: i32 = 37;

fn attempts(root: &Path) -> Vec<String> {
    disk::entries(&root.join(".work").join(key().to_string())).unwrap()
}

fn attempt_at(root: &Path, number: u64) -> PathBuf {
    root.join(".work").join(key().to_string()).join(format!("{number:06}"))
}

/// Makes a path look unchanged for some hours.
fn age(path: &Path, hours: u64) {
    let then = std::time::SystemTime::now() - Duration::from_secs(hours * 3600);
    for entry in walkdir::WalkDir::new(path).contents_first(true) {
        fs::File::open(entry.unwrap().path()).unwrap().set_modified(then).unwrap();
    }
}

#[test]
fn without_locks_each_process_works_in_an_attempt_of_its_own() {
    let root = tempfile::tempdir().unwrap();
    let (meet, key) = (Barrier::new(3), key());
    let found: Vec<FinishedStage> = std::thread::scope(|scope| {
        let work = || {
            answering(ENOLCK, || {
                let store = Store::open(root.path());
                let attempt = begin(&store, work(&key));
                let folder = output(&attempt.output().unwrap(), &[("weights", "same")]);
                meet.wait();
                assert!(folder.join("weights").exists(), "nobody else cleared it");
                let finished = attempt.finish(&store, false).unwrap();
                meet.wait();
                finished
            })
        };
        let workers: Vec<_> = (0..3).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    assert!(found.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(disk::entries(&root.path().join(".work")).unwrap(), Vec::<String>::new());
}

#[test]
fn without_locks_an_attempt_goes_on_from_a_copy_of_the_newest_checkpoint() {
    let root = tempfile::tempdir().unwrap();
    let (store, key) = (Store::open(root.path()), key());
    answering(ENOLCK, || {
        let first = begin(&store, work(&key));
        checkpoint(&first, "one");
        let newest = checkpoint(&first, "two");
        let mut second = begin(&store, work(&key));
        let copied = second.newest_checkpoint().unwrap().unwrap();
        assert_eq!((copied.number, fs::read(copied.dir.join("state")).unwrap()), (2, b"two".to_vec()));
        assert!(second.notes()[0].contains("continues from a copy of `"), "{:?}", second.notes());
        // Both proceed, and neither takes files from the other.
        assert_eq!(checkpoint(&second, "three").number, 3);
        assert_eq!(checkpoint(&first, "four").number, 3);
        assert!(newest.dir.exists() && copied.dir.exists());
        assert_eq!(attempts(root.path()), ["000001", "000002"]);
        // After a day the attempt counts as abandoned.
        drop(first);
        age(&attempt_at(root.path(), 1), 25);
        let third = begin(&store, work(&key));
        assert_eq!(attempts(root.path()), ["000002", "000003"]);
        third.discard().unwrap();
        drop(second);
        assert!(
            crate::store::keys_in_use(&attempt_at(root.path(), 2)).unwrap().is_some(),
            "gc keeps it for a day"
        );
        age(&attempt_at(root.path(), 2), 25);
        assert_eq!(crate::store::keys_in_use(&attempt_at(root.path(), 2)).unwrap(), None);
    });
}

#[test]
fn an_attempt_whose_lock_file_is_gone_is_not_waited_for() {
    let root = tempfile::tempdir().unwrap();
    let (store, key) = (Store::open(root.path()), key());
    let first = begin(&store, work(&key));
    checkpoint(&first, "one");
    fs::remove_file(attempt_at(root.path(), 1).join("lock")).unwrap();
    let mut second = begin(&store, work(&key));
    let copied = second.newest_checkpoint().unwrap().unwrap();
    assert_eq!(fs::read(copied.dir.join("state")).unwrap(), b"one");
    // Its process may still run, and finds its folder unchanged.
    checkpoint(&first, "two");
}

/// The state after a process was killed just after publishing.
fn killed_behind_publishing(store: &Store, work: AttemptRequest) {
    let attempt = begin(store, work);
    checkpoint(&attempt, "last");
    let folder = output(&attempt.output().unwrap(), &[("weights", "same")]);
    store.publish(work.key, work.variant, &folder).unwrap();
}

#[test]
fn what_is_left_of_a_finished_stage_is_removed() {
    let root = tempfile::tempdir().unwrap();
    let (store, key) = (Store::open(root.path()), key());
    for forced in [false, true] {
        killed_behind_publishing(&store, AttemptRequest { forced, ..work(&key) });
        assert_eq!(attempts(root.path()), ["000001"]);
        store.remove_leftovers(&key, "scalar");
        assert_eq!(disk::entries(&root.path().join(".work")).unwrap(), Vec::<String>::new());
    }
    // Killed during removal, before and after the lock file was removed, and just after creation.
    let unfinished = attempt_at(root.path(), 1).with_file_name(format!("{}1", disk::UNFINISHED));
    for lock_is_gone in [false, true] {
        killed_behind_publishing(&store, AttemptRequest { forced: true, ..work(&key) });
        fs::create_dir(&unfinished).unwrap();
        fs::rename(attempt_at(root.path(), 1), unfinished.join(disk::DOOMED)).unwrap();
        if lock_is_gone {
            fs::remove_file(unfinished.join(disk::DOOMED).join("lock")).unwrap();
        }
        store.remove_leftovers(&key, "scalar");
        assert_eq!(disk::entries(&root.path().join(".work")).unwrap(), Vec::<String>::new());
    }
    fs::create_dir_all(&unfinished).unwrap();
    store.remove_leftovers(&key, "scalar");
    assert_eq!(disk::entries(&root.path().join(".work")).unwrap(), Vec::<String>::new());
}

#[test]
fn what_somebody_works_in_or_may_go_on_with_stays() {
    let root = tempfile::tempdir().unwrap();
    let (store, key) = (Store::open(root.path()), key());
    publish(&store, &root.path().join("a"), "scalar", "same").unwrap();
    // An attempt of another variant, and a forced attempt.
    checkpoint(&begin(&store, AttemptRequest { variant: "x86-v3", ..work(&key) }), "v3");
    let forced = begin(&store, AttemptRequest { forced: true, ..work(&key) });
    forced.output().unwrap();
    drop(forced);
    store.remove_leftovers(&key, "scalar");
    assert_eq!(attempts(root.path()), ["000001", "000002"]);
    let held = begin(&store, AttemptRequest { variant: "x86-v3", ..work(&key) });
    store.remove_leftovers(&key, "x86-v3");
    assert_eq!(attempts(root.path()), ["000001", "000002"]);
    drop(held);
    answering(ENOLCK, || store.remove_leftovers(&key, "x86-v3"));
    assert_eq!(attempts(root.path()), ["000001", "000002"], "nobody can tell");
    store.remove_leftovers(&key, "x86-v3");
    assert_eq!(attempts(root.path()), ["000002"]);
}
