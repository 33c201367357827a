//! Builds the programs that contain the mutants: one with all, if possible.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use super::combined::{CHOICE, Combined};
use super::logged::{end_of, spawn_logged};
use super::mutant::Mutant;
use super::source_copy::{SourceCopy, Texts, read};
use super::{binary, build};
use crate::command::program;

pub(super) struct Programs {
    /// The unmodified code, and all mutants but those with a program of their own.
    combined: PathBuf,
    /// By the number of the mutant. An error concerns this mutant only; the others still run.
    own: BTreeMap<usize, Result<PathBuf>>,
}

impl Programs {
    /// The mutants are numbered from 1. Those whose errors fail the build of the combined program are
    /// taken out of it and built alone, so each error is reported with its own mutant.
    pub(super) fn build(mutants: &[(String, Mutant)], dir: &Path) -> Result<Self> {
        let builder = Builder {
            copy: SourceCopy::new(dir.join("src"))?,
            target_dir: dir.join("target"),
            programs: dir.join("programs"),
            log: dir.join("build.log"),
        };
        if builder.programs.exists() {
            fs::remove_dir_all(&builder.programs).context("removing earlier programs")?;
        }
        fs::create_dir_all(&builder.programs).context("creating the directory of the programs")?;
        let mut combined = Combined::default();
        let mut alone = BTreeMap::new();
        let mut own = BTreeMap::new();
        for (number, (_, mutant)) in (1..).zip(mutants) {
            match mutant.apply(read) {
                Ok(texts) if combined.add(number, &texts, read)? => {}
                Ok(texts) => {
                    alone.insert(number, texts);
                }
                Err(error) => {
                    own.insert(number, Err(error));
                }
            }
        }
        let program = loop {
            let sources = combined.sources();
            if let Some(program) = builder.build(&sources.texts, "combined")? {
                break program;
            }
            let failed = sources.mutants_with_errors(&builder.output()?);
            if failed.is_empty() {
                bail!(
                    "the unmodified code does not compile; {}",
                    end_of(&builder.log)
                );
            }
            for number in failed {
                combined.remove(number);
                let (_, mutant) = &mutants[number - 1];
                alone.insert(number, mutant.apply(read)?);
            }
        };
        for (number, texts) in alone {
            println!("{} needs a program of its own", mutants[number - 1].0);
            let program = builder.build(&texts, &number.to_string())?;
            let program = program
                .with_context(|| format!("the mutant does not compile; {}", end_of(&builder.log)));
            own.insert(number, program);
        }
        Ok(Self {
            combined: program,
            own,
        })
    }

    pub(super) fn unmodified(&self) -> Command {
        program(&self.combined)
    }

    /// An error means that the mutant does not apply or does not compile.
    pub(super) fn mutant(&self, number: usize) -> Result<Command> {
        match self.own.get(&number) {
            Some(Ok(own)) => Ok(program(own)),
            Some(Err(error)) => Err(anyhow!("{error:#}")),
            None => {
                let mut command = program(&self.combined);
                command.env(CHOICE, number.to_string());
                Ok(command)
            }
        }
    }
}

struct Builder {
    copy: SourceCopy,
    target_dir: PathBuf,
    programs: PathBuf,
    log: PathBuf,
}

impl Builder {
    /// Returns the program, or `None` if it does not compile.
    fn build(&self, texts: &Texts, name: &str) -> Result<Option<PathBuf>> {
        self.copy.write(texts)?;
        let mut command = build(&self.copy.root, &self.target_dir);
        command.args(["--message-format", "short"]);
        // Debug information takes a third of the time.
        command.env("CARGO_PROFILE_DEV_DEBUG", "0");
        let status = spawn_logged(&mut command, &self.log)?.wait();
        if !status.context("waiting for cargo")?.success() {
            return Ok(None);
        }
        // The next build replaces cargo's own.
        let program = self.programs.join(name);
        fs::copy(binary(&self.target_dir), &program)
            .with_context(|| format!("writing {}", program.display()))?;
        Ok(Some(program))
    }

    fn output(&self) -> Result<String> {
        fs::read_to_string(&self.log).with_context(|| format!("reading {}", self.log.display()))
    }
}
