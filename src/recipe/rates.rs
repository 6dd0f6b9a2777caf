//! Checks of what moves the weights: numbers in their ranges, and keys that belong to their kind.

use super::Recipe;
use crate::{
    error::{Error, Result},
    model::Parametrization,
    optim::OptimizerKind,
    schedule::ScheduleKind,
    toml_file::Places,
};

impl Recipe {
    /// Every number that has a range, in the order of the tables.
    pub(super) fn check_rates(&self, places: &Places) -> Result<()> {
        let (m, o, s) = (&self.model, &self.optimizer, &self.schedule);
        let fraction = |x: f64| (0.0..1.0).contains(&x);
        let closed = |x: f64| (0.0..=1.0).contains(&x);
        let positive = |x: f64| x > 0.0 && x.is_finite();
        let not_negative = |x: f64| x >= 0.0 && x.is_finite();
        type Fits = fn(f64) -> bool;
        let below_one: (Fits, &str) = (fraction, "use 0 or more and below 1");
        let of_all: (Fits, &str) = (closed, "use a fraction of all steps, 0 to 1");
        let of_peak: (Fits, &str) = (closed, "use a fraction of the peak, 0 to 1");
        let above: (Fits, &str) = (positive, "use a number above 0");
        let least: (Fits, &str) = (not_negative, "use 0 or more");
        for (key, value, (fits, remedy)) in [
            ("model.dropout", m.dropout, below_one),
            ("model.norm_eps", m.norm_eps, above),
            ("model.rope_base", m.rope_base, above),
            ("model.logit_cap", m.logit_cap, least),
            ("model.z_loss", m.z_loss, least),
            ("optimizer.lr", o.lr, above),
            ("optimizer.betas", o.betas()[0], below_one),
            ("optimizer.betas", o.betas()[1], below_one),
            ("optimizer.eps", o.eps(), least),
            ("optimizer.momentum", o.momentum(), below_one),
            ("optimizer.adamw_lr", o.adamw_lr(), above),
            ("optimizer.weight_decay", o.weight_decay, least),
            ("optimizer.max_grad_norm", o.max_grad_norm, least),
            ("optimizer.rates.embedding", o.rates.embedding, least),
            ("optimizer.rates.head", o.rates.head, least),
            ("optimizer.rates.matrix", o.rates.matrix, least),
            ("optimizer.rates.vector", o.rates.vector, least),
            ("eval.ema", self.eval.ema, below_one),
            ("schedule.warmup", s.warmup, of_all),
            ("schedule.final", s.final_fraction, of_peak),
        ] {
            if !fits(value) {
                let problem = format!("{key} is {value}: out of range");
                return Err(Error::input(places.find(key), problem, remedy));
            }
        }
        Ok(())
    }

    /// muP needs a width to start from, and nothing else has one.
    pub(super) fn check_parametrization(&self, places: &Places) -> Result<()> {
        let m = &self.model;
        let written = [
            ("model.base_width", m.base_width.is_some()),
            ("model.base_head_dim", m.base_head_dim.is_some()),
        ];
        let unread = written.into_iter().find(|(_, is_set)| *is_set);
        match (m.init, m.base_width, unread) {
            (Parametrization::Gpt2, _, Some((key, _))) => Err(Error::input(
                places.find_any(&[key, "model.init"]),
                format!("{key} is set, and model.init = \"gpt2\" does not read it"),
                "leave it out, or use model.init = \"mup\"",
            )),
            (Parametrization::Mup, None, _) => Err(Error::input(
                places.find("model.init"),
                "model.init is \"mup\" and model.base_width is not set",
                "set model.base_width to the n_embd at which the rate was tuned",
            )),
            _ => Ok(()),
        }
    }

    /// Keys belong to the kinds that read them.
    pub(super) fn check_optimizer(&self, places: &Places) -> Result<()> {
        let o = &self.optimizer;
        let kind = o.kind.name();
        let unread = |(key, is_set): &(&str, bool)| *is_set && !o.kind.keys().contains(key);
        if let Some((key, _)) = o.written().into_iter().find(unread) {
            let key = format!("optimizer.{key}");
            return Err(Error::input(
                places.find_any(&[&key, "optimizer.kind"]),
                format!("{key} is set, and optimizer.kind = \"{kind}\" does not read it"),
                format!(
                    "leave it out; \"{kind}\" reads {}",
                    o.kind.keys().join(", ")
                ),
            ));
        }
        if o.kind == OptimizerKind::Sgd && o.nesterov() && o.momentum() == 0.0 {
            return Err(Error::input(
                places.find_any(&["optimizer.nesterov", "optimizer.momentum"]),
                "optimizer.nesterov is true: without momentum there is nothing to look ahead by",
                "use optimizer.momentum above 0, or leave optimizer.nesterov out",
            ));
        }
        if self.model.tied && o.rates.head != 1.0 {
            return Err(Error::input(
                places.find_any(&["optimizer.rates.head", "model.tied"]),
                format!(
                    "optimizer.rates.head is {}: the head is tied to the token embedding",
                    o.rates.head
                ),
                "leave it out, or use optimizer.rates.embedding, which is the rate of both",
            ));
        }
        Ok(())
    }

    /// A cooldown belongs to `wsd`, and must fit after the warm-up.
    pub(super) fn check_schedule(&self, places: &Places) -> Result<()> {
        let s = &self.schedule;
        let kind = s.kind.name();
        for (key, is_set) in [
            ("schedule.cooldown", s.cooldown.is_some()),
            ("schedule.cooldown_shape", s.cooldown_shape.is_some()),
        ] {
            if is_set && s.kind != ScheduleKind::Wsd {
                return Err(Error::input(
                    places.find_any(&[key, "schedule.kind"]),
                    format!("{key} is set, and schedule.kind = \"{kind}\" has no cooldown"),
                    "leave it out, or use schedule.kind = \"wsd\"",
                ));
            }
        }
        let cooldown = s.cooldown();
        if !(0.0..=1.0).contains(&cooldown) {
            return Err(Error::input(
                places.find("schedule.cooldown"),
                format!("schedule.cooldown is {cooldown}: out of range"),
                "use a fraction of all steps, 0 to 1",
            ));
        }
        // What is left may be rounded: 0.9 and 0.1 belong together.
        if s.kind == ScheduleKind::Wsd
            && s.warmup_steps.is_none()
            && s.warmup + cooldown > 1.0 + 1e-9
        {
            return Err(Error::input(
                places.find_any(&["schedule.cooldown", "schedule.warmup"]),
                format!(
                    "schedule.cooldown is {cooldown}: with schedule.warmup = {} it is more than the whole run",
                    s.warmup
                ),
                "use fractions of all steps that sum to 1 or less",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_head_of_its_own_has_a_rate_of_its_own() {
        let text = r#"
            data = { tokenizer = "char", mixture = [{ corpus = "tales", weight = 1.0 }] }
            budget = { steps = 1 }
            model = { tied = false }
            optimizer = { rates = { head = 2.0 } }
        "#;
        let mut recipe: Recipe = toml::from_str(text).unwrap();
        assert!(recipe.check(&Places::default()).is_ok());
        recipe.model.tied = true;
        let error = recipe.check(&Places::default()).unwrap_err();
        assert!(error.remedy.contains("optimizer.rates.embedding"));
    }
}
