use defrost::digest::Digest;
use defrost::run::Interrupt;
use defrost::store::{AttemptRequest, AttemptStart};
use insta::assert_snapshot;

use crate::project::{Project, document};
use crate::synthetic::{Runs, Turtles, objects};

#[test]
fn what_a_run_has_stays_and_the_rest_is_shown_then_freed() {
    let runs = Runs::new();
    assert_snapshot!(runs.say(&["gc"]), @"nothing to free; 0 cached stages are still in use");
    runs.complete(&Turtles::default());
    let second = runs.complete(&Turtles { lr: 3e-5, ..Turtles::default() });
    runs.interrupted(&Turtles { lr: 1e-3, ..Turtles::default() });
    let third = runs.interrupted(&Turtles { lr: 1e-2, ..Turtles::default() });
    let all = objects(&runs);
    assert_eq!(all.len(), 5);
    assert!(runs.json(&["gc", "--yes"])["garbage"].as_array().unwrap().is_empty());
    assert_eq!(objects(&runs), all);

    std::fs::remove_dir_all(second.path()).unwrap();
    std::fs::remove_dir_all(third.path()).unwrap();
    let before = all.clone();
    assert_snapshot!(runs.say(&["gc"]), @r"
        897 B  a finished stage that no run uses  .store/08c5e7bd67c0684b032e5cc01788dd191008e64b6b9c739028acfff10668de30/scalar
        192 B  a finished stage that no run uses  .store/69c871b04c57591c175b8d2d5ee4821905e989918c2c025cd8fadf9d7c9d2271/scalar
        924 B  an attempt that no run would resume  .work/d63de8f1e941fb0cd403a16472bf96e5f076fe44fb56d6564755f74cf1e6d612/000001
    would free 2.0 kB: run `defrost gc --yes`; 4 cached stages are still in use
    ");
    assert_eq!(objects(&runs), before, "a preview removes nothing");
    assert!(runs.defrost(&["gc", "--yes"]).status.success());
    assert_eq!(objects(&runs).len(), 3);
    assert_snapshot!(runs.say(&["gc"]), @"nothing to free; 4 cached stages are still in use");
    // What remains is needed by the remaining runs.
    runs.complete(&Turtles { lr: 1e-3, ..Turtles::default() });
    assert!(runs.defrost(&["verify", "turtles"]).status.success());
}

#[test]
fn a_live_attempt_keeps_itself_and_what_it_reads() {
    let runs = Runs::new();
    let run = runs.complete(&Turtles::default());
    let reads = run.record().unwrap().stages[0].key.unwrap();
    std::fs::remove_dir_all(run.path()).unwrap();
    let store = runs.store();
    let key = Digest::of(b"something new");
    let work = AttemptRequest { key: &key, variant: "scalar", uses: &[reads], forced: false, series: None };
    let AttemptStart::Working(attempt) = store.begin(work, &Interrupt::default(), &mut || {}).unwrap() else {
        panic!("nobody has done it");
    };
    assert_eq!(runs.json(&["gc", "--yes"])["garbage"].as_array().unwrap().len(), 2);
    let kept = objects(&runs);
    assert_eq!(kept.len(), 1);
    assert!(kept[0].to_string_lossy().contains(&reads.to_string()));
    // A dead process protects nothing: no run would resume it.
    drop(attempt);
    assert_eq!(runs.json(&["gc", "--yes"])["garbage"].as_array().unwrap().len(), 2);
    assert!(objects(&runs).is_empty());
}

#[test]
fn nothing_is_freed_while_a_run_looks_through_the_store_or_its_needs_are_unknown() {
    let runs = Runs::new();
    let run = runs.complete(&Turtles::default());
    let store = runs.store();
    let hold = store.block_gc().unwrap();
    assert_eq!(runs.defrost(&["gc", "--yes"]).status.code(), Some(1));
    drop(hold);
    std::fs::write(run.path().join("plan.json"), "{ torn").unwrap();
    assert_snapshot!(runs.say(&["gc", "--yes"]), @r"
    error: cannot read `[runs]/turtles/ad44b9d9/plan.json`: key must be a string at line 1 column 3
    hint: it is unknown what this run needs: run its pipeline again, or delete its folder
    ");
    assert_eq!(objects(&runs).len(), 3);
}

/// A restarted run lists its previous results of stages that it has not reached.
#[test]
fn what_a_run_had_stays_until_it_is_reached() {
    let project = Project::finished();
    let damaged = project.plan(&[])["stages"][1]["key"].as_str().unwrap().to_owned();
    std::fs::remove_dir_all(project.path().join("runs/.store").join(damaged)).unwrap();
    project.run(&["--until", "start"]);
    let freed = document(&project.defrost(&["gc", "--yes", "--json"]));
    let features = |item: &serde_json::Value| item["what"].as_str().unwrap().starts_with("features");
    assert!(freed["garbage"].as_array().unwrap().iter().all(features), "{freed}");
    let run = project.run(&[]);
    assert_eq!((run.those("ran"), run.those("cached").len()), (vec!["frozen".to_owned()], 3));
}
