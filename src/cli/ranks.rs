//! One run in several processes: joining them, comparing what they are about to do, and ending together.

use std::process::ExitCode;
use std::time::SystemTime;

use defrost::error::ErrorKind;
use defrost::ranks::{Launcher, Mpi, Team, Transport};
use defrost::run::{FollowOptions, Interrupt, Order, StageOrder};
use defrost::{Error, Result};

use super::session::Session;
use super::{Console, console, launcher};

pub use console::is_hushed;

/// Joins the other processes that a launcher started; `None` if there are none. From here on, a process other than
/// rank 0 prints nothing but what it alone knows.
///
/// # Errors
/// They cannot work together. Of the processes that know that, one of all or of each machine says so: see
/// [`is_hushed`].
pub fn join() -> Result<Option<Mpi>> {
    let launcher = launcher::launcher().inspect_err(|_| hush())?;
    let Some(launcher) = launcher else { return Ok(None) };
    let joined = Mpi::join(&launcher);
    // Perhaps only this machine lacks the library.
    let is_of_machine = matches!(&joined, Err(error) if error.kind == ErrorKind::Failed);
    if !(is_of_machine && launcher::is_first_of_machine()) {
        hush();
    }
    match joined {
        Ok(mpi) => Ok(Some(mpi)),
        Err(error) if launcher.rank == 0 => Err(error),
        Err(error) => Err(error.within(format_args!("rank {}", launcher.rank))),
    }
}

/// Warns that each process of a launcher does all of a command which does not work in several.
pub fn warn_if_several(console: &Console) {
    if let Ok(Some(Launcher { name, processes, rank: 0, .. })) = launcher::launcher() {
        console.warn(format!(
            "{name} started {processes} processes, and each does all of this command: only `defrost run` divides its work; `DEFROST_MPI=off` says that this is meant"
        ));
    }
}

/// Reports an error that this process alone knows, such as a panic.
pub fn report_own(error: Error) {
    console::report_hushed(&error.within(format_args!("rank {}", launcher::rank())));
}

fn hush() {
    if launcher::rank() != 0 {
        console::hush();
    }
}

/// The processes as text, for people.
pub fn describe(mpi: &Mpi) -> String {
    format!("{} processes work together, over {}", mpi.count(), mpi.version())
}

/// Opens the sessions of a file on all ranks: rank 0 first, which hashes inputs and fetches weights for all.
///
/// # Errors
/// Those of any rank, or the ranks would do different things.
pub fn open(team: &Team, open: impl Fn() -> Result<Vec<Session>>) -> Result<Vec<Session>> {
    let sessions = match team.leads() {
        true => team.settle(open())?,
        false => {
            team.settle(Ok(()))?;
            team.settle(open())?
        }
    };
    if team.leads() {
        team.settle(Ok(()))?;
    }
    require_same(team, &sessions)?;
    Ok(sessions)
}

/// What must be the same on all ranks, with a name for messages.
fn identity(sessions: &[Session]) -> Vec<(&'static str, String)> {
    let all = |of: &dyn Fn(&Session) -> String| sessions.iter().map(of).collect::<Vec<_>>().join(" ");
    vec![
        ("device", all(&|session| session.choice.variant.clone())),
        ("recipe", all(&|session| session.plan.recipe.to_string())),
    ]
}

fn require_same(team: &Team, sessions: &[Session]) -> Result<()> {
    let own = identity(sessions);
    let text = |part: &(&str, String)| part.1.clone();
    let message = own.iter().map(text).collect::<Vec<_>>().join("\n");
    let all = team.gather(Ok(message.into_bytes()))?;
    let all: Vec<String> = all.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect();
    let Some(rank) = all.iter().position(|other| *other != all[0]) else { return Ok(()) };
    let mut differing = own.iter().zip(all[0].lines().zip(all[rank].lines()));
    let found = differing.find(|(_, (first, other))| first != other);
    let Some(((name, _), (first, other))) = found else {
        return Err(Error::failed(format!("rank {rank} would run something else than rank 0")));
    };
    let cure = match *name {
        "device" => {
            "use machines of one kind, or set `run.device` so that all compute alike; numbers differ between kinds of processors"
        }
        _ => {
            "all ranks must read the same file, images and weights, with the same program; `DEFROST_MPI=off` makes each a run of its own"
        }
    };
    Err(Error::failed(format!("rank {rank} has another {name} than rank 0: `{other}` and `{first}`"))
        .hint(cure))
}

/// Follows the orders of rank 0 to the end, with the sessions if all ranks could open them.
///
/// # Errors
/// The connection was lost.
pub fn follow(mpi: &Mpi, sessions: &[Session], interrupt: &Interrupt) -> Result<()> {
    let (team, share) = (Team::new(mpi), ThreadShare::of(mpi));
    loop {
        let order = match Order::next(&team)? {
            Order::Leave => return Ok(()),
            Order::Stage(order) => order,
        };
        // All ranks know of an error; rank 0 reports it, and gives the next order.
        if let Err(error) = execute(&order, &team, sessions, share, interrupt) {
            _ = team.renewed().settle::<()>(Err(error));
        }
    }
}

/// Fails only if the other ranks do not know of the error yet.
fn execute(
    order: &StageOrder,
    team: &Team,
    sessions: &[Session],
    share: ThreadShare,
    interrupt: &Interrupt,
) -> Result<()> {
    let session = sessions.get(order.run).ok_or_else(|| Error::bug("an order for no run"))?;
    let settings = &session.pipeline.run;
    let (threads, pool) = session.threads(share)?;
    let options = FollowOptions {
        device: &session.choice.device,
        variant: &session.choice.variant,
        workers: settings.workers.unwrap_or(threads),
        image_cache: settings.image_bytes() / share.processes,
        feature_bytes: settings.feature_bytes(),
        keep_training_state: settings.keep_training_state,
        clock: SystemTime::now,
    };
    _ = pool.install(|| order.follow(&session.plan, &session.store, &options, team, interrupt));
    Ok(())
}

/// How a machine is divided between processes.
#[derive(Clone, Copy)]
pub struct ThreadShare {
    /// The processes that may use the same cores.
    pub sharing: usize,
    /// The processes of this machine.
    pub processes: usize,
}

impl ThreadShare {
    pub const ALONE: Self = Self { sharing: 1, processes: 1 };

    pub fn of(mpi: &Mpi) -> Self {
        Self { sharing: mpi.sharing(), processes: mpi.neighbours() }
    }
}

/// The ranks that execute a run.
#[derive(Clone, Copy)]
pub struct Together<'a> {
    pub team: &'a Team<'a>,
    /// The number of the run among those of the file.
    pub run: usize,
    pub share: ThreadShare,
}

impl Together<'static> {
    pub fn alone() -> Self {
        Self { team: Team::alone(), run: 0, share: ThreadShare::ALONE }
    }
}

/// Ends all ranks. The outcome is that of rank 0; the others end without a failure, because some launchers end all
/// processes after the first failure, and rank 0 has yet to print.
pub fn leave(mpi: Mpi, outcome: Result<ExitCode>) -> Result<ExitCode> {
    let left = Order::Leave.give(&Team::new(&mpi)).and_then(|()| mpi.close());
    // What went wrong first counts.
    outcome.and_then(|code| left.map(|()| code))
}

/// The end of a rank other than 0.
pub fn followed(mpi: Mpi, outcome: Result<()>) -> ExitCode {
    let (rank, closed) = (mpi.rank(), outcome.and_then(|()| mpi.close()));
    match closed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::report_hushed(&error.within(format_args!("rank {rank}")));
            ExitCode::FAILURE
        }
    }
}
