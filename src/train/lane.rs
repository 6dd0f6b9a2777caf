//! A run of a pack and its folder: what is written down of it, and when.

use super::{CheckpointExtra, Diverged, Job, Progress, Stepped, Trainer, windows_digest};
use crate::{
    checkpoint,
    error::Result,
    metrics::{Branched, Cost, DataRecord, Ending, EvalRecord, Outcome, Record},
    run::Run,
    run_dir::MetricsWriter,
};

/// A run of a pack that has no outcome yet, or has just got it.
pub(super) struct Lane<'a> {
    pub job: &'a Job<'a>,
    /// Its place in the trainer.
    k: usize,
    metrics: MetricsWriter,
    /// Its share of the device's time so far, in this process and before it.
    pub seconds: f64,
    branched: Option<Branched>,
    pub outcome: Option<Outcome>,
    /// Something of it could not be written.
    pub failed: bool,
    /// The step of its newest checkpoint that this process wrote.
    saved_at: Option<u64>,
}

/// Whether something that is done every so many steps is due after this one.
pub(super) fn due(step: u64, every: u64) -> bool {
    every > 0 && step.is_multiple_of(every)
}

impl<'a> Lane<'a> {
    /// Takes a run up where it was left: at its newest checkpoint, which may be its trunk's, or at
    /// step 0.
    pub fn begin(job: &'a Job<'a>, k: usize, trainer: &mut Trainer) -> Result<Self> {
        let folder = job.dir.checkpoints();
        let restored = match checkpoint::steps(&folder).pop() {
            None => None,
            Some(step) => {
                Some(trainer.restore::<CheckpointExtra>(k, &checkpoint::path(&folder, step))?)
            }
        };
        // A checkpoint of another trial is a trunk's, and its seconds were another trial's too.
        let own = restored.filter(|extra| extra.trial == job.trial.to_string());
        let step = trainer.step();
        let branched = Branched {
            step,
            tokens: step * job.run.tokens_per_step(),
        };
        let (seconds, branched, event) = match (step, own) {
            (0, _) => (0.0, None, "start"),
            (_, None) => (0.0, Some(branched), "branch"),
            (_, Some(extra)) => (extra.cost.seconds, extra.branched, "resume"),
        };
        job.dir.describe(job.run, &job.compute.class, trainer.k())?;
        job.dir.event(event, step)?;
        Ok(Self {
            metrics: job.dir.metrics(step, job.run.steps)?,
            job,
            k,
            seconds,
            branched,
            outcome: None,
            failed: false,
            saved_at: None,
        })
    }

    pub fn runs(&self) -> bool {
        self.outcome.is_none() && !self.failed
    }

    /// Writes down what came of some steps; the run may have ended in one of them.
    pub fn stepped(
        &mut self,
        steps: Vec<Stepped>,
        trainer: &Trainer,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        let run = self.job.run;
        for step in steps {
            match step {
                Ok(record) => {
                    progress(Progress::Step(&record));
                    if due(record.step, run.log.every) || record.step == run.steps {
                        self.metrics.write(&Record::Step(record))?;
                    }
                }
                Err(Diverged { step, what }) => {
                    self.end(Ending::Diverged { step, what }, trainer)?;
                }
            }
        }
        Ok(())
    }

    /// Writes down an evaluation; that of the last step ends the run.
    pub fn evaluated(
        &mut self,
        eval: &EvalRecord,
        trainer: &Trainer,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        progress(Progress::Eval(eval));
        self.metrics.write(&Record::Eval(eval.clone()))?;
        self.metrics.write(&Record::Data(DataRecord {
            step: trainer.step(),
            corpora: trainer.realised(self.k),
        }))?;
        match trainer.step() == self.job.run.steps {
            true => self.end(Ending::Finished { eval: eval.clone() }, trainer),
            false => Ok(()),
        }
    }

    fn end(&mut self, ending: Ending, trainer: &Trainer) -> Result<()> {
        let (job, step) = (self.job, trainer.done(self.k));
        self.metrics.sync()?;
        let outcome = Outcome {
            schema: Outcome::SCHEMA.into(),
            trial: job.trial.to_string(),
            design: job.design.as_str().into(),
            seed: job.run.seed,
            ending,
            cost: self.cost(step),
            branched: self.branched,
            realised: trainer.realised(self.k),
            windows: windows_digest(&job.data.windows),
        };
        job.dir.finish(&outcome, step)?;
        self.outcome = Some(outcome);
        Ok(())
    }

    /// Whether there is something to write at this step.
    pub fn is_due(&self, trainer: &Trainer) -> bool {
        let (run, step) = (self.job.run, trainer.step());
        let trunk = self.job.trunk.is_some_and(|trunk| trunk.step() == step);
        self.runs() && (trunk || due(step, run.checkpoint.every) || step == run.steps)
    }

    /// Keeps its trunk, if it is there and nobody has kept it yet.
    pub fn keep_trunk(&mut self, trainer: &Trainer) -> Result<()> {
        let here = self
            .job
            .trunk
            .filter(|trunk| trunk.step() == trainer.step());
        let Some(trunk) = here.filter(|trunk| !trunk.is_whole()) else {
            return Ok(());
        };
        self.metrics.sync()?;
        let extra = self.extra(trainer.step());
        trunk.keep(self.job.dir, &extra, trainer.saved(self.k))
    }

    /// Saves, if that is due.
    pub fn save(&mut self, trainer: &Trainer) -> Result<()> {
        let (run, step) = (self.job.run, trainer.step());
        match due(step, run.checkpoint.every) || step == run.steps {
            true => self.save_now(trainer),
            false => Ok(()),
        }
    }

    /// Saves, unless this step is saved.
    pub fn save_now(&mut self, trainer: &Trainer) -> Result<()> {
        let (run, step) = (self.job.run, trainer.step());
        if self.saved_at == Some(step) {
            return Ok(());
        }
        // First what led to this step, then the step: a kill between the two loses nothing.
        self.metrics.sync()?;
        let (folder, extra) = (self.job.dir.checkpoints(), self.extra(step));
        let saved = trainer.saved(self.k);
        checkpoint::save(&folder, (step, &extra), saved, run.checkpoint.keep)?;
        self.saved_at = Some(step);
        Ok(())
    }

    fn extra(&self, step: u64) -> CheckpointExtra {
        CheckpointExtra {
            trial: self.job.trial.to_string(),
            tokenizer: self.job.data.tokenizer.clone(),
            cost: self.cost(step),
            branched: self.branched,
        }
    }

    fn cost(&self, step: u64) -> Cost {
        cost(self.job.run, step, self.seconds)
    }
}

fn cost(run: &Run, step: u64, seconds: f64) -> Cost {
    let tokens = step * run.tokens_per_step();
    Cost {
        seconds,
        tokens,
        flops: tokens as f64 * run.model.flops_per_token(run.vocab_size),
    }
}
