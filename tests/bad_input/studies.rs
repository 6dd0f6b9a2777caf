//! Studies whose arms can't be compared, or that ask for what there is not.

use crate::{Bench, STUDY, at, replaced, says};

#[test]
fn arms_that_differ_in_more_than_what_they_declare_are_refused_at_their_line() {
    let bench = Bench::new();
    let set = "set = { \"optimizer.lr\" = 1e-5 }";
    for (changed, problem, remedy) in [
        (
            "set = { \"optimizer.lr\" = 1e-5, \"batch.rows\" = 8 }",
            "batch.rows",
            "change one thing",
        ),
        (
            "set = { \"optimizer.lr\" = 1e-5, \"model.n_layer\" = 2 }",
            "model.n_layer",
            "change one thing",
        ),
        (
            "set = { \"model.n_layer\" = 2 }",
            "model.n_layer",
            "change one thing",
        ),
        (
            "set = { \"optimizer.lr\" = 3e-3 }",
            "does not differ",
            "\"none\"",
        ),
        ("set = { \"seed\" = 7 }", "seed", "leave it out"),
        (
            "set = { \"budget.steps\" = 24 }",
            "budget",
            "change one thing",
        ),
        ("set = { \"eval.windows\" = 4 }", "eval", "leave it out"),
        (
            "set = { \"optimizer.rl\" = 1e-5 }",
            "optimizer.rl: unknown key",
            "\"lr\"",
        ),
        (
            "set = { \"optimizer.lr\" = -1.0 }",
            "optimizer.lr",
            "above 0",
        ),
        (
            "set = { \"model.n_head\" = 3 }",
            "n_embd = 16",
            "1, 2, 4, 8, 16",
        ),
        (
            "sets = { \"optimizer.lr\" = 1e-5 }",
            "arms.slow.sets: unknown key",
            "\"set\"",
        ),
    ] {
        let text = replaced(STUDY, set, changed);
        bench.write("study.toml", &text);
        let line = match remedy {
            // What is wrong is what was declared.
            "change one thing" | "\"none\"" => "factor = ",
            _ => changed,
        };
        let place = at("study.toml", &text, line);
        for command in ["run", "plan"] {
            bench.refuse(&[command, "study.toml"], says(&place, problem, remedy));
        }
    }
}

#[test]
fn arms_that_differ_in_budget_are_refused_even_when_that_is_their_factor() {
    let bench = Bench::new();
    let text = replaced(
        STUDY,
        "factor = \"optimizer.lr\"",
        "factor = \"budget.steps\"",
    );
    let text = replaced(&text, "\"optimizer.lr\" = 1e-5", "\"budget.steps\" = 24");
    bench.write("study.toml", &text);
    let place = at("study.toml", &text, "\"budget.steps\" = 24");
    bench.refuse(
        &["run", "study.toml"],
        says(&place, "their budgets differ", "budget.tokens"),
    );
    // More rows at the same steps are more tokens.
    let text = replaced(
        STUDY,
        "factor = \"optimizer.lr\"",
        "factor = \"batch.rows\"",
    );
    let text = replaced(&text, "\"optimizer.lr\" = 1e-5", "\"batch.rows\" = 8");
    bench.write("study.toml", &text);
    bench.refuse(
        &["run", "study.toml"],
        says("study.toml", "their budgets differ", "budget.tokens"),
    );
}

#[test]
fn a_study_without_what_it_needs_is_refused_at_its_line() {
    let bench = Bench::new();
    for (was, is, problem, remedy) in [
        (
            "margin = 0.1",
            "margn = 0.1",
            "decision.margn: unknown key",
            "\"margin\"",
        ),
        (
            "margin = 0.1",
            "margin = -0.1",
            "decision.margin",
            "above 0",
        ),
        (
            "margin = 0.1",
            "margin = \"small\"",
            "decision.margin",
            "number",
        ),
        ("seeds = 2", "seeds = 1", "decision.seeds", "2"),
        (
            "seeds = 2",
            "seeds = 2\nrule = \"peek\"",
            "decision.rule",
            "fixed",
        ),
        (
            "seeds = 2",
            "seeds = 2\nalpha = 1.5",
            "decision.alpha",
            "at most 0.5",
        ),
        (
            "seeds = 2",
            "seeds = 2\nmetric = \"accuracy\"",
            "decision.metric",
            "bpb",
        ),
        (
            "seeds = 2",
            "seeds = 2\neval = [{ corpus = \"wrods\" }]",
            "no such corpus",
            "\"words\"",
        ),
        (
            "control = true",
            "control = false",
            "0 arms say control",
            "exactly one",
        ),
        (
            "[arms.slow]",
            "[arms.slow]\ncontrol = true",
            "2 arms say control",
            "exactly one",
        ),
        (
            "base = \"recipe.toml\"",
            "base = \"no.toml\"",
            "No such file",
            "path",
        ),
        ("claim = \"It matters.\"", "claim = \"\"", "claim", ""),
        ("name = \"study\"", "name = \"a/b\"", "name", ""),
        (
            "name = \"study\"",
            "nme = \"study\"",
            "nme: unknown key",
            "\"name\"",
        ),
    ] {
        let text = replaced(STUDY, was, is);
        bench.write("study.toml", &text);
        let shown = match is {
            _ if problem.contains("arms say control") => "[arms.plain]",
            is => is.lines().next_back().unwrap(),
        };
        let place = at("study.toml", &text, shown);
        for command in ["run", "plan"] {
            bench.refuse(&[command, "study.toml"], says(&place, problem, remedy));
        }
    }
}
