//! Recipes that can't be meant, in the file and on the command line.

use crate::{Bench, RECIPE, at, replaced, says};

/// What is written for what, and what the refusal has to say about it.
struct Case {
    was: &'static str,
    is: &'static str,
    problem: &'static str,
    remedy: &'static str,
}

const fn case(
    was: &'static str,
    is: &'static str,
    problem: &'static str,
    remedy: &'static str,
) -> Case {
    Case {
        was,
        is,
        problem,
        remedy,
    }
}

const CASES: [Case; 27] = [
    case(
        "n_layer = 1",
        "n_layers = 1",
        "model.n_layers: unknown key",
        "\"n_layer\"",
    ),
    case(
        "[optimizer]",
        "[optimiser]",
        "optimiser: unknown key",
        "\"optimizer\"",
    ),
    case(
        "n_embd = 16",
        "n_embd = \"wide\"",
        "model.n_embd",
        "whole number",
    ),
    case(
        "n_embd = 16",
        "n_embd = 16.5",
        "model.n_embd",
        "whole number",
    ),
    case(
        "n_embd = 16",
        "n_embd = -16",
        "model.n_embd",
        "whole number",
    ),
    case(
        "n_embd = 16",
        "n_embd = 18014398509481984",
        "model.n_embd",
        "16777216",
    ),
    case("lr = 3e-3", "lr = \"fast\"", "optimizer.lr", "number"),
    case("lr = 3e-3", "lr = true", "optimizer.lr", "number"),
    case("lr = 3e-3", "lr = nan", "optimizer.lr", "above 0"),
    case("lr = 3e-3", "lr = -1.0", "optimizer.lr", "above 0"),
    case("lr = 3e-3", "lr = inf", "optimizer.lr", "above 0"),
    case(
        "tokenizer = \"char\"",
        "tokenizer = \"chars\"",
        "data.tokenizer",
        "\"char\"",
    ),
    case(
        "tokenizer = \"char\"",
        "tokenizer = 3",
        "data.tokenizer",
        "in quotes",
    ),
    case(
        "weight = 1.0",
        "weight = -1.0",
        "weight of \"words\" is -1",
        "0 or more",
    ),
    case(
        "weight = 1.0",
        "weight = nan",
        "weight of \"words\" is NaN",
        "0 or more",
    ),
    case(
        "weight = 1.0",
        "weight = 0.0",
        "every weight is 0",
        "positive",
    ),
    case(
        "weight = 1.0",
        "wieght = 1.0",
        "data.mixture.wieght",
        "\"weight\"",
    ),
    case(
        "corpus = \"words\"",
        "corpus = \"word\"",
        "no such corpus",
        "\"words\"",
    ),
    case(
        "corpus = \"words\", ",
        "",
        "\"data.mixture.corpus\" is missing",
        "add corpus",
    ),
    case(
        "[{ corpus = \"words\", weight = 1.0 }]",
        "[]",
        "data.mixture",
        "corpus",
    ),
    case(
        "[{ corpus = \"words\", weight = 1.0 }]",
        "\"words\"",
        "data.mixture",
        "a list",
    ),
    case("n_head = 2", "n_head = 3", "n_embd = 16", "1, 2, 4, 8, 16"),
    case("n_head = 2", "n_head = 0", "model.n_head", "use 1 to"),
    case(
        "block_size = 16",
        "block_size = 4096",
        "model.block_size",
        "at most 341",
    ),
    case("rows = 4", "rows = 0", "batch.rows", "use 1 to"),
    case("steps = 12", "steps = 0", "budget", "above 0"),
    case(
        "steps = 12",
        "steps = 12\ntokens = 100",
        "[budget] sets steps and tokens",
        "one of",
    ),
];

#[test]
fn a_recipe_that_cannot_be_meant_is_refused_at_its_line() {
    let bench = Bench::new();
    for Case {
        was,
        is,
        problem,
        remedy,
    } in CASES
    {
        let text = replaced(RECIPE, was, is);
        bench.write("recipe.toml", &text);
        let shown = match (is, problem) {
            ("", _) => "mixture",
            (_, problem) if problem.starts_with("[budget]") => "[budget]",
            (is, _) => is,
        };
        let place = at("recipe.toml", &text, shown);
        for args in [
            ["train", "recipe.toml"],
            ["run", "study.toml"],
            ["plan", "study.toml"],
        ] {
            bench.refuse(&args, says(&place, problem, remedy));
        }
    }
}

/// Overrides of what moves the weights, and what their refusals have to say.
const RATES: [(&str, &str, &str); 16] = [
    ("optimizer.kind=adam", "optimizer.kind", "\"adamw\""),
    (
        "optimizer.momentum=0.9",
        "optimizer.kind = \"adamw\" does not read it",
        "betas, eps",
    ),
    (
        "optimizer={kind=\"lion\",eps=1e-8}",
        "optimizer.eps is set",
        "\"lion\" reads betas",
    ),
    (
        "optimizer={kind=\"sgd\",momentum=1.0}",
        "optimizer.momentum is 1",
        "below 1",
    ),
    (
        "optimizer={kind=\"sgd\",momentum=0,nesterov=true}",
        "nothing to look ahead by",
        "above 0",
    ),
    (
        "optimizer={kind=\"muon\",adamw_lr=0}",
        "optimizer.adamw_lr is 0",
        "above 0",
    ),
    (
        "optimizer.nesterov=yes",
        "optimizer.nesterov",
        "true or false",
    ),
    (
        "optimizer.rates.vector=-1",
        "optimizer.rates.vector is -1",
        "0 or more",
    ),
    (
        "optimizer.rates.matrices=2",
        "optimizer.rates.matrices: unknown key",
        "\"matrix\"",
    ),
    (
        "optimizer.rates.head=2",
        "tied to the token embedding",
        "optimizer.rates.embedding",
    ),
    (
        "schedule.cooldown=0.2",
        "\"cosine\" has no cooldown",
        "\"wsd\"",
    ),
    (
        "schedule.cooldown_shape=sqrt",
        "\"cosine\" has no cooldown",
        "\"wsd\"",
    ),
    (
        "schedule={kind=\"wsd\",cooldown=1.5}",
        "schedule.cooldown is 1.5",
        "0 to 1",
    ),
    (
        "schedule={kind=\"wsd\",cooldown_shape=\"cosine\"}",
        "schedule.cooldown_shape",
        "linear, sqrt",
    ),
    (
        "schedule={kind=\"wsd\",cooldown=0.6,warmup=0.5}",
        "more than the whole run",
        "sum to 1",
    ),
    ("eval.ema=1", "eval.ema is 1", "below 1"),
];

#[test]
fn an_override_that_cannot_be_meant_is_refused_by_its_words() {
    let bench = Bench::new();
    for (change, problem, remedy) in [
        (
            "model.n_layers=2",
            "model.n_layers: unknown key",
            "\"n_layer\"",
        ),
        ("modle.n_layer=2", "modle", "\"model\""),
        (
            "model.n_layer.x=2",
            "a value, not a table",
            "n_layer itself",
        ),
        ("model.n_layer=two", "model.n_layer", "whole number"),
        ("model.n_head=5", "do not divide", "1, 2, 4, 8, 16"),
        ("optimizer.lr=0", "optimizer.lr", "above 0"),
        ("optimizer.lr", "has no \"=\"", "dotted.key=value"),
        ("=3", "is not a dotted key", "dotted.key=value"),
        (
            "data.mixture=[{corpus=\"words\",weight=-1}]",
            "is -1",
            "0 or more",
        ),
        (
            "data.mixture=[{corpus=\"nothing\"}]",
            "no such corpus",
            "known",
        ),
        ("model.block_size=100000", "model.block_size", "at most 341"),
        (
            "batch.rows_per_pass=3",
            "does not divide batch.rows",
            "divisor",
        ),
        (
            "model.n_kv_head=3",
            "does not divide the heads, model.n_head = 2",
            "1, 2",
        ),
        ("model.positions=rotery", "model.positions", "\"rotary\""),
        ("model.activation=relu", "model.activation", "relu2"),
        ("model.window=-1", "model.window", "whole number"),
        ("model.logit_cap=-1", "model.logit_cap", "0 or more"),
        ("model.rope_base=0", "model.rope_base", "above 0"),
        ("schedule.kind=cosin", "schedule.kind", "\"cosine\""),
        ("optimizer.betas=[0.9]", "optimizer.betas", "give"),
        ("optimizer.betas=[0.9,1.5]", "optimizer.betas", "below 1"),
    ] {
        let place = format!("override \"{change}\"");
        for file in [["train", "recipe.toml"], ["run", "study.toml"]] {
            bench.refuse(
                &[&file[..], &[change]].concat(),
                says(&place, problem, remedy),
            );
        }
    }
}

#[test]
fn rotary_heads_of_odd_width_are_refused() {
    let bench = Bench::new();
    let args = [
        "train",
        "recipe.toml",
        "model.positions=rotary",
        "model.n_head=16",
    ];
    let place = "override \"model.n_head=16\"";
    bench.refuse(&args, says(place, "heads of 1 channels", "1, 2, 4, 8"));
}

#[test]
fn keys_of_another_kind_and_rates_out_of_range_are_refused() {
    let bench = Bench::new();
    for (change, problem, remedy) in RATES {
        let place = format!("override \"{change}\"");
        for file in [["train", "recipe.toml"], ["run", "study.toml"]] {
            let expected = says(&place, problem, remedy);
            bench.refuse(&[&file[..], &[change]].concat(), expected);
        }
    }
}

#[test]
fn a_corpus_that_there_is_not_is_refused_wherever_a_recipe_names_it() {
    let bench = Bench::new();
    for change in [
        "data.vocabulary=[\"wrods\"]",
        "eval.corpora=[{corpus=\"wrods\"}]",
    ] {
        let place = format!("override \"{change}\"");
        let expected = says(&place, "no such corpus", "\"words\"");
        bench.refuse(&["train", "recipe.toml", change], expected);
        let expected = says(&place, "can't be set in a study", "decision.eval");
        bench.refuse(&["run", "study.toml", change], expected);
    }
}

#[test]
fn a_file_that_is_no_toml_or_not_there_is_said_so() {
    let bench = Bench::new();
    bench.refuse(
        &["train", "recipes.toml"],
        says("recipes.toml", "No such file", "check the path"),
    );
    bench.refuse(
        &["run", "home"],
        says("home", "directory", "check the path"),
    );
    let text = replaced(RECIPE, "[model]", "[model");
    bench.write("recipe.toml", &text);
    let place = at("recipe.toml", &text, "[model");
    bench.refuse(
        &["train", "recipe.toml"],
        says(&place, "not TOML", "key = value"),
    );
    bench.write("recipe.toml", b"seed = 1\n# \xff\n");
    bench.refuse(
        &["train", "recipe.toml"],
        says("recipe.toml:2", "UTF-8", "UTF-8"),
    );
    bench.write("recipe.toml", "");
    bench.refuse(
        &["train", "recipe.toml"],
        says("recipe.toml:1", "missing", "new recipe"),
    );
}

#[test]
fn a_command_line_that_cannot_be_meant_is_refused_in_the_same_form() {
    let bench = Bench::new();
    for (args, place, problem, remedy) in [
        (
            &["trian", "recipe.toml"][..],
            "trian",
            "unrecognized subcommand",
            "\"train\"",
        ),
        (&["train"], "<RECIPE>", "required", "--help"),
        (
            &["train", "recipe.toml", "--thraeds", "2"],
            "--thraeds",
            "unexpected",
            "--threads",
        ),
        (
            &["train", "recipe.toml", "--threads", "0"],
            "--threads",
            "0 is not in 1..=1024",
            "--help",
        ),
        (
            &["train", "recipe.toml", "--threads", "many"],
            "--threads",
            "many",
            "--help",
        ),
        (
            &["run", "study.toml", "--expect", "beter"],
            "--expect",
            "beter",
            "\"better\"",
        ),
        (
            &["run", "study.toml", "--jobs", "0"],
            "--jobs",
            "0",
            "--help",
        ),
        (
            &["sample", "x", "--temperature=-1"],
            "--temperature",
            "-1",
            "",
        ),
        (
            &["eval", "abcdef"],
            "run \"abcdef\"",
            "no run",
            "windtunnel ls",
        ),
        (&["show", "abcdef"], "abcdef", "no ", "windtunnel ls"),
        (&["report", "abcdef"], "abcdef", "no ", "windtunnel ls"),
        (&["compare", "abc", "def"], "abc", "no run", "windtunnel ls"),
        (&["new", "study", "a/b"], "NAME", "a/b", "letters"),
    ] {
        bench.refuse(args, says(place, problem, remedy));
    }
    bench.write("file", "");
    let mut command = bench.command(&["ls"]);
    command.args(["--home", "file"]);
    let elsewhere = &mut std::process::Command::new(env!("CARGO_BIN_EXE_windtunnel"));
    let elsewhere = elsewhere.args(["ls", "--json", "--home", "file"]);
    let elsewhere = elsewhere.current_dir(bench.folder.path());
    bench.refuse_command(
        elsewhere,
        says("--home file", "is a file", "choose another"),
    );
}

#[test]
fn a_device_that_is_not_there_is_refused() {
    let bench = Bench::new();
    for device in ["gpu", "cuda:x", "cuda:-1"] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_windtunnel"));
        command
            .args([
                "train",
                "recipe.toml",
                "--home",
                "home",
                "--json",
                "--device",
                device,
            ])
            .current_dir(bench.folder.path());
        bench.refuse_command(&mut command, says("--device", device, ""));
    }
}
