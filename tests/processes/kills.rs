//! Daemons that are killed at any moment, and what they must not leave behind.

use anyhow::Context as _;
use tokio::task::JoinSet;
use windlass_testkit::rng::Rng;
use windlass_tests::wait::until;

use super::*;

/// Daemons that are killed; `WINDLASS_KILLS=100` in the environment makes it a hundred.
const KILLS: u64 = 20;

/// Daemons that run at the same time.
const SIDE_BY_SIDE: usize = 4;

/// Leaves descendants in sessions of their own before and during each event, some without a parent,
/// some in other directories, all deaf.
const SCATTER: &str = r#"
trap '' TERM HUP INT
setsid sleep 1000 &
(setsid bash -c 'cd /; sleep 1000 & setsid sleep 1000 & disown -a' &)
echo $$ >>started
while next; do
  (setsid bash -c 'trap "" TERM; sleep 1000 & wait' &)
  echo $body >>working
  sleep 1000
done
"#;

/// When a daemon is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// Its function has this many processes, descendants and supervisors included.
    Starting(usize),
    Idle,
    /// This many processes have an event.
    Working(usize),
    /// It was asked to stop, and has noticed or not.
    Draining {
        notices: bool,
    },
    /// A process or its supervisor was killed, and replaced.
    Killed(Victim),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Process,
    Supervisor,
}

impl Moment {
    fn draw(number: u64, rng: &mut Rng) -> Self {
        match number % 6 {
            0 => Self::Starting(rng.size(1, 12)),
            1 => Self::Idle,
            2 => Self::Working(rng.size(1, 2)),
            3 => Self::Draining {
                notices: rng.per_mille(500),
            },
            4 => Self::Killed(Victim::Process),
            _ => Self::Killed(Victim::Supervisor),
        }
    }
}

#[tokio::test]
async fn no_process_outlives_a_daemon_that_is_killed_at_any_moment() {
    let kills = std::env::var("WINDLASS_KILLS").ok();
    let kills = kills.map_or(KILLS, |it| it.parse().expect("a number"));
    let mut rng = Rng::new(kills);
    let mut ended = Vec::new();
    let running = async {
        let mut running = JoinSet::new();
        for number in 0..kills {
            if running.len() == SIDE_BY_SIDE {
                ended.extend(running.join_next().await);
            }
            running.spawn_local(kill_at(Moment::draw(number, &mut rng)));
        }
        while let Some(last) = running.join_next().await {
            ended.push(last);
        }
    };
    tokio::task::LocalSet::new().run_until(running).await;
    let n_processes: usize = ended.into_iter().map(|it| it.unwrap().unwrap()).sum();
    assert!(0 < n_processes);
    eprintln!("{kills} daemons were killed with {n_processes} processes; none is left");
}

/// Starts a daemon, kills it and waits until every process has ended; returns how many there were at
/// the moment of the kill.
async fn kill_at(moment: Moment) -> anyhow::Result<usize> {
    let dir = TempDir::new("killed");
    write_function(dir.path(), SCATTER);
    let keys = "    processes: {minimum: 2, maximum: 2}\n";
    if let Moment::Starting(n_processes) = moment {
        let (_emulator, config) = prepare(dir.path(), keys, "").await;
        let mut daemon = windlass_tests::daemon::spawn(dir.path(), &config)?;
        let what = format!("{moment:?}");
        let started = || n_processes <= processes_of(dir.path()).len();
        until(&what, TIMEOUT, started).await?;
        let n_processes = processes_of(dir.path()).len();
        daemon.kill().await?;
        none_is_left(moment, dir.path()).await?;
        return Ok(n_processes);
    }
    let setup = Setup::start_in(dir, keys, &[]).await;
    setup.lines("started", 2).await;
    match moment {
        Moment::Starting(_) | Moment::Idle => {}
        Moment::Working(n_events) => setup.work(n_events).await,
        Moment::Draining { notices } => {
            setup.work(1).await;
            setup.daemon.signal("TERM")?;
            if notices {
                setup.drains().await?;
            }
        }
        Moment::Killed(victim) => setup.kill_one(victim).await?,
    }
    let Setup { dir, daemon, .. } = setup;
    let n_processes = processes_of(dir.path()).len();
    daemon.kill().await?;
    none_is_left(moment, dir.path()).await?;
    Ok(n_processes)
}

impl Setup {
    async fn work(&self, n_events: usize) {
        for number in 0..n_events {
            self.send(&format!("message{number}"));
        }
        self.lines("working", n_events).await;
    }

    async fn drains(&self) -> anyhow::Result<()> {
        until_some("the daemon drains", TIMEOUT, async || {
            let (status, _) = self.daemon.call("GET", "/readyz", None).await?;
            Ok((status == 503).then_some(()))
        })
        .await
    }

    /// Kills one and waits for its replacement: by then all its descendants have ended.
    async fn kill_one(&self, victim: Victim) -> anyhow::Result<()> {
        self.work(1).await;
        let before = processes_of(self.dir.path());
        let is_supervisor = |pid: &&u32| {
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            command.split(|byte| *byte == 0).nth(1) == Some(b"supervise-function")
        };
        let killed = match victim {
            Victim::Supervisor => before.iter().find(is_supervisor).copied(),
            Victim::Process => Some(self.lines("started", 2).await[0].parse()?),
        };
        let killed = killed.context("a process has a supervisor")?;
        // Different for each process of the function, and inherited.
        let stream = |pid: u32| variable(pid, "AWS_LAMBDA_LOG_STREAM_NAME");
        let related = before.iter().copied();
        let related: Vec<u32> = related
            .filter(|pid| stream(*pid) == stream(killed))
            .collect();
        assert!(5 <= related.len(), "{related:?}");
        let sent = std::process::Command::new("kill")
            .args(["-9", &killed.to_string()])
            .status()?;
        assert!(sent.success());
        self.lines("started", 3).await;
        let after = processes_of(self.dir.path());
        let left: Vec<_> = related.iter().filter(|pid| after.contains(pid)).collect();
        assert!(left.is_empty(), "{left:?} outlive the {victim:?}");
        Ok(())
    }
}

/// Supervisors, processes and descendants of the function in a directory, wherever they have gone.
fn processes_of(dir: &Path) -> Vec<u32> {
    let root = dir.as_os_str().as_encoded_bytes();
    let pids = pids().filter(|pid| variable(*pid, "LAMBDA_TASK_ROOT").as_deref() == Some(root));
    pids.collect()
}

/// A variable of a process, as it was started with it; one that has ended has none.
fn variable(pid: u32, name: &str) -> Option<Vec<u8>> {
    let variables = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let prefix = format!("{name}=");
    let mut variables = variables.split(|byte| *byte == 0);
    let value = variables.find_map(|it| it.strip_prefix(prefix.as_bytes()));
    value.map(<[u8]>::to_vec)
}

async fn none_is_left(moment: Moment, dir: &Path) -> anyhow::Result<()> {
    let what = format!("no process is left after {moment:?}");
    until(&what, TIMEOUT, || processes_of(dir).is_empty()).await
}
