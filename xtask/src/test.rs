//! `cargo xtask test`: every check of the workspace, each timed, with the test counts last.
//!
//! All checks compile with the release profile: oneDNN takes many minutes to build, once for each
//! profile. A failed check does not stop the others, so that one run shows everything.
//!
//! A test that lacks its data (see `shared/` in CONTRIBUTING.md) prints a line `skipped: <why>` on
//! standard error and passes. Those lines are counted from nextest's JUnit file, or from the
//! output of `cargo test`, and such tests are reported as skipped.

mod counts;

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use self::counts::{Counts, from_junit, from_libtest};
use crate::process::{status, status_and_stdout, succeeds};
use crate::setup::BuildEnv;
use crate::tidy;
use crate::workspace::{Metadata, root};

/// The profile of `.config/nextest.toml` that writes a JUnit file.
const NEXTEST_PROFILE: &str = "xtask";

/// Which checks to run.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave out doctests, documentation, licences and spelling
    #[arg(long)]
    fast: bool,
    /// Lint, test and document only this crate (repeatable); a crate that does not use oneDNN
    /// is checked without building it
    #[arg(short, long = "package", value_name = "CRATE")]
    packages: Vec<String>,
}

/// How a check ended.
enum Outcome {
    Passed,
    /// With tests that ran, successfully or not.
    Tested(Counts),
    Failed(String),
    /// Not run, and why.
    Skipped(&'static str),
}

/// A finished check.
struct Step {
    name: &'static str,
    outcome: Outcome,
    time: Duration,
}

/// What a check does: it prints what it runs and gives how it ended.
type Check = fn(&Checks) -> Result<Outcome>;

/// The checks that `--fast` runs as well, cheap ones first.
const FAST: &[(&str, Check)] = &[
    ("fmt", Checks::formatting),
    ("tidy", Checks::tidy),
    ("clippy", Checks::clippy),
    ("tests", Checks::tests),
];

/// The checks that `--fast` leaves out.
const THOROUGH: &[(&str, Check)] = &[
    ("doctests", Checks::doctests),
    ("rustdoc", Checks::rustdoc),
    ("licences", Checks::licences),
    ("spelling", Checks::spelling),
];

/// Runs the checks; fails when one of them does.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let start = Instant::now();
    let env = BuildEnv::prepare()?;
    let metadata = Metadata::load()?;
    for package in &args.packages {
        if !metadata.members().any(|member| member.name == *package) {
            bail!("`{package}` is no crate of this workspace");
        }
    }
    let checks = Checks {
        env,
        metadata,
        packages: args.packages,
    };
    let thorough = if args.fast { &[][..] } else { THOROUGH };

    let mut steps = Vec::new();
    for &(name, check) in FAST.iter().chain(thorough) {
        println!("\n==> {name}");
        let start = Instant::now();
        let outcome = check(&checks).unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
        match &outcome {
            Outcome::Failed(why) => eprintln!("error: {name}: {why}"),
            Outcome::Skipped(why) => println!("skipped: {why}"),
            Outcome::Passed | Outcome::Tested(_) => {}
        }
        steps.push(Step {
            name,
            outcome,
            time: start.elapsed(),
        });
    }
    Ok(report(&steps, start.elapsed()))
}

/// What the checks share.
struct Checks {
    env: BuildEnv,
    metadata: Metadata,
    /// Names of the selected crates; empty for all.
    packages: Vec<String>,
}

impl Checks {
    fn formatting(&self) -> Result<Outcome> {
        if !succeeds(self.env.cargo("fmt")?.arg("--version")) {
            return Ok(Outcome::Skipped(
                "rustfmt is not installed (`rustup component add rustfmt`)",
            ));
        }
        passed(self.env.cargo("fmt")?.args(["--all", "--check"]))
    }

    #[expect(clippy::unused_self, reason = "it has the shape of the other checks")]
    fn tidy(&self) -> Result<Outcome> {
        let problems = tidy::check()?;
        tidy::print(&problems);
        Ok(match problems.len() {
            0 => Outcome::Passed,
            count => Outcome::Failed(format!("{count} problems")),
        })
    }

    fn clippy(&self) -> Result<Outcome> {
        if !succeeds(self.env.cargo("clippy")?.arg("--version")) {
            return Ok(Outcome::Skipped(
                "clippy is not installed (`rustup component add clippy`)",
            ));
        }
        passed(self.compiling("clippy")?.args([
            "--release",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]))
    }

    fn tests(&self) -> Result<Outcome> {
        if succeeds(self.env.cargo("nextest")?.arg("--version")) {
            self.nextest()
        } else {
            println!("cargo-nextest is not installed, `cargo test` takes its place");
            self.libtest(&["--tests"])
        }
    }

    fn nextest(&self) -> Result<Outcome> {
        // nextest's store is there even when `CARGO_TARGET_DIR` is elsewhere.
        let store = root()?.join("target/nextest");
        let junit = store.join(NEXTEST_PROFILE).join("junit.xml");
        // An earlier run's file must not be taken for this one's.
        let _ = std::fs::remove_file(&junit);
        let mut command = self.env.cargo("nextest")?;
        command.arg("run").args(self.selection());
        command.args(["--cargo-profile", "release", "--no-fail-fast"]);
        command.args(["--profile", NEXTEST_PROFILE]);
        let status = status(&mut command)?;
        let Ok(xml) = std::fs::read_to_string(&junit) else {
            return Ok(Outcome::Failed("no test ran".to_owned()));
        };
        let counts = from_junit(&xml).with_context(|| format!("`{}`", junit.display()))?;
        if !status.success() && counts.failed == 0 {
            return Ok(Outcome::Failed(format!("cargo nextest: {status}")));
        }
        Ok(Outcome::Tested(counts))
    }

    /// Runs what libtest runs: all test targets, or the doctests.
    fn libtest(&self, targets: &[&str]) -> Result<Outcome> {
        let mut command = self.compiling("test")?;
        command.args(["--release", "--no-fail-fast"]).args(targets);
        // Otherwise a passing test does not say that it was skipped.
        command.args(["--", "--show-output"]);
        let (status, stdout) = status_and_stdout(&mut command)?;
        let counts = from_libtest(&stdout);
        if !status.success() && counts.failed == 0 {
            return Ok(Outcome::Failed(format!("cargo test: {status}")));
        }
        Ok(Outcome::Tested(counts))
    }

    fn doctests(&self) -> Result<Outcome> {
        let library = |kind: &String| kind == "lib" || kind == "proc-macro";
        let selected = |name: &String| {
            self.packages.is_empty() || self.packages.iter().any(|chosen| chosen == name)
        };
        let any = self
            .metadata
            .members()
            .filter(|member| selected(&member.name))
            .any(|member| {
                member
                    .targets
                    .iter()
                    .any(|target| target.kind.iter().any(library))
            });
        if !any {
            return Ok(Outcome::Skipped("no library is selected"));
        }
        self.libtest(&["--doc"])
    }

    fn rustdoc(&self) -> Result<Outcome> {
        let flags = std::env::var("RUSTDOCFLAGS").unwrap_or_default();
        passed(
            self.compiling("doc")?
                .args(["--release", "--no-deps", "--document-private-items"])
                .env("RUSTDOCFLAGS", format!("{flags} -D warnings").trim()),
        )
    }

    fn licences(&self) -> Result<Outcome> {
        if !succeeds(self.env.cargo("deny")?.arg("--version")) {
            return Ok(Outcome::Skipped("cargo-deny is not installed"));
        }
        // Advisories are left out: they come from the network and change without a commit.
        passed(
            self.env
                .cargo("deny")?
                .args(["check", "bans", "licenses", "sources"]),
        )
    }

    #[expect(clippy::unused_self, reason = "it has the shape of the other checks")]
    fn spelling(&self) -> Result<Outcome> {
        if !succeeds(Command::new("typos").arg("--version")) {
            return Ok(Outcome::Skipped("typos is not installed"));
        }
        passed(Command::new("typos").current_dir(root()?))
    }

    /// A cargo command that compiles the selected crates.
    fn compiling(&self, subcommand: &str) -> Result<Command> {
        let mut command = self.env.cargo(subcommand)?;
        command.args(self.selection());
        Ok(command)
    }

    fn selection(&self) -> Vec<&str> {
        let mut flags = Vec::new();
        if self.packages.is_empty() {
            flags.push("--workspace");
        }
        for package in &self.packages {
            flags.extend(["-p", package]);
        }
        flags.extend(self.env.feature_flags());
        flags
    }
}

fn passed(command: &mut Command) -> Result<Outcome> {
    let status = status(command)?;
    Ok(if status.success() {
        Outcome::Passed
    } else {
        Outcome::Failed(status.to_string())
    })
}

/// Prints the table and the counts of the tests, and gives the exit code.
fn report(steps: &[Step], total: Duration) -> ExitCode {
    let mut counts = Counts::default();
    let mut failed = Vec::new();
    println!("\n{:<10} {:>8}  result", "check", "seconds");
    for step in steps {
        let result = match &step.outcome {
            Outcome::Passed => "ok".to_owned(),
            Outcome::Tested(tests) => {
                counts.add(tests);
                let result = if tests.failed > 0 { "FAILED" } else { "ok" };
                format!("{result} ({tests})")
            }
            Outcome::Failed(why) => format!("FAILED ({why})"),
            Outcome::Skipped(why) => format!("skipped ({why})"),
        };
        if result.starts_with("FAILED") {
            failed.push(step.name);
        }
        println!(
            "{:<10} {:>8.1}  {result}",
            step.name,
            step.time.as_secs_f64()
        );
    }
    println!("{:<10} {:>8.1}", "total", total.as_secs_f64());

    if !counts.failures.is_empty() {
        println!("\nfailed tests:");
        for name in &counts.failures {
            println!("  {name}");
        }
    }
    if counts.skipped > 0 {
        println!("\nskipped tests, and why (once each):");
        for why in &counts.reasons {
            println!("  {why}");
        }
    }
    println!();
    if failed.is_empty() {
        println!("all checks passed");
    } else {
        println!("failed: {}", failed.join(", "));
    }
    println!("tests: {counts}");
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
