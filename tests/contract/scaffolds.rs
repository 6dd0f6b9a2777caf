//! Files for an idea: all of them, or none.

use super::{changed, draft};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::Path};
use tempfile::TempDir;
use windtunnel::{
    claude::{draft::Draft, scaffold},
    recipe::Recipe,
    study::proposal::Study,
};

/// A project with the quickstart's recipe and the list of variants, and nothing else.
fn project() -> TempDir {
    let folder = TempDir::new().unwrap();
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in ["configs/recipes/quickstart.toml", "src/model/variants.rs"] {
        let to = folder.path().join(file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(own.join(file), to).unwrap();
    }
    fs::create_dir_all(folder.path().join("src/model/variants")).unwrap();
    folder
}

/// Every file and folder with what is in it.
fn contents(root: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut left = vec![root.to_path_buf()];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            if path.is_dir() {
                all.insert(name, "a folder".into());
                left.push(path);
            } else {
                all.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    all
}

fn with_recipe(set: Value) -> Value {
    changed(
        "/recipe",
        json!({ "name": "narrow", "about": "Half as wide.\nname = \"x\"", "set": set }),
    )
}

fn with_variant() -> Value {
    let mut whole = draft();
    whole["variant"] =
        json!({ "name": "wide_gain", "idea": "A gain per channel.\n*/ fn main() {}" });
    whole["arms"][1]["factor"] = "model.variant".into();
    whole["arms"][1]["set"] = json!([{ "key": "model.variant", "value": "wide_gain" }]);
    whole
}

#[test]
fn a_study_and_its_recipe_are_written_and_hold() {
    let project = project();
    let root = project.path();
    let set = json!([
        { "key": "model.n_embd", "value": 32 },
        { "key": "budget.tokens", "value": 100000 },
        { "key": "data.tokenizer", "value": "tokenizers/own.json" },
    ]);
    let mut whole = with_recipe(set);
    whole["set"] = json!([{ "key": "budget.steps", "value": 50 }]);
    let draft = Draft::parse(&whole).unwrap();
    let written = scaffold::write(root, &draft, "claude").unwrap();
    assert_eq!(written.study, Path::new("configs/studies/more_sums.toml"));
    assert_eq!(
        written.recipe.as_deref(),
        Some(Path::new("configs/recipes/narrow.toml"))
    );
    assert_eq!(written.variant, None);
    assert!(written.next.starts_with("windtunnel plan "));
    let (recipe, _) = Recipe::load(&root.join("configs/recipes/narrow.toml"), &[]).unwrap();
    assert_eq!((recipe.model.n_embd, recipe.model.n_layer), (32, 2));
    assert_eq!(
        (recipe.budget.tokens, recipe.budget.steps),
        (Some(100000), None)
    );
    let text = fs::read_to_string(root.join("configs/recipes/narrow.toml")).unwrap();
    assert!(
        text.contains("tokenizer = \"../../tokenizers/own.json\""),
        "{text}"
    );
    let study = Study::load(&root.join(&written.study), &[]).unwrap();
    assert_eq!(study.proposal.base, "../recipes/narrow.toml");
    assert_eq!(study.control().recipe.budget.steps, Some(50));
    // A second time everything is there already, and stays.
    let before = contents(root);
    let error = scaffold::write(root, &draft, "claude").unwrap_err();
    assert!(error.problem.contains("is there already"), "{error}");
    assert_eq!(contents(root), before);
}

#[test]
fn what_would_be_refused_leaves_nothing_behind() {
    let project = project();
    let root = project.path();
    let outside = root.parent().unwrap().join("elsewhere.json");
    std::os::unix::fs::symlink(&outside, root.join("link.json")).unwrap();
    std::os::unix::fs::symlink(root.parent().unwrap(), root.join("out")).unwrap();
    let before = contents_without_links(root);
    let set = |key: &str, value: Value| json!([{ "key": key, "value": value }]);
    let mut unknown_in_variant = with_variant();
    unknown_in_variant["set"] = set("optimizer.rate", json!(1));
    for (whole, words) in [
        (with_recipe(set("model.n_emb", json!(32))), "n_embd"),
        (
            with_recipe(set("model.n_embd", json!("wide"))),
            "recipe.set[0]",
        ),
        (with_recipe(set("model.n_embd", json!(0))), "out of range"),
        (
            with_recipe(set("data.tokenizer", json!("link.json"))),
            "leads nowhere",
        ),
        (
            changed("/base", "out/x.toml".into()),
            "leads out of the project",
        ),
        (
            changed("/base", "configs/recipes/none.toml".into()),
            "none.toml",
        ),
        (
            changed("/set", set("optimizer.rate", json!(1))),
            "optimizer.rate",
        ),
        (
            changed("/set", set("data.tokenizer", json!("link.json"))),
            "leads nowhere",
        ),
        (
            changed(
                "/set",
                set("eval.corpora", json!([{ "corpus": "sums", "weight": 1 }])),
            ),
            "can't be set",
        ),
        (
            changed("/arms/1/factor", "optimizer.lr".into()),
            "besides its factor",
        ),
        (
            changed("/arms/1/set", set("eval.windows", json!(1))),
            "which all arms share",
        ),
        (unknown_in_variant, "optimizer.rate"),
    ] {
        let draft = Draft::parse(&whole).unwrap();
        let error = scaffold::write(root, &draft, "claude").unwrap_err();
        assert!(error.to_string().contains(words), "{words}: {error}");
        assert_eq!(error.exit_code(), 2);
        assert_eq!(contents_without_links(root), before, "{words}");
    }
}

fn contents_without_links(root: &Path) -> Vec<(String, Option<String>)> {
    let mut all = Vec::new();
    let mut left = vec![root.to_path_buf()];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_symlink() {
                continue;
            }
            let text = path.is_file().then(|| fs::read_to_string(&path).unwrap());
            all.push((path.display().to_string(), text));
            if path.is_dir() {
                left.push(path);
            }
        }
    }
    all.sort();
    all
}

#[test]
fn an_idea_in_code_gets_a_skeleton_with_its_test_and_the_study_that_would_test_it() {
    let project = project();
    let root = project.path();
    let draft = Draft::parse(&with_variant()).unwrap();
    let written = scaffold::write(root, &draft, "claude").unwrap();
    assert_eq!(
        written.variant.as_deref(),
        Some(Path::new("src/model/variants/wide_gain.rs"))
    );
    assert!(
        written
            .next
            .contains("cargo test --release --lib variants::wide_gain"),
        "{}",
        written.next
    );
    let text = fs::read_to_string(root.join("src/model/variants/wide_gain.rs")).unwrap();
    assert!(
        text.starts_with("//! wide_gain: A gain per channel. */ fn main() {}\n//!\n"),
        "{text}"
    );
    assert!(text.contains("testing::holds(\"wide_gain\")"));
    let list = fs::read_to_string(root.join("src/model/variants.rs")).unwrap();
    assert!(list.contains("    wide_gain,\n}\n"));
    // This binary does not know it: the study says so, and is otherwise whole.
    let study = fs::read_to_string(root.join(&written.study)).unwrap();
    assert!(
        study.contains("set = { \"model.variant\" = \"wide_gain\" }"),
        "{study}"
    );
    let error = Study::load(&root.join(&written.study), &[]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("there is no variant \"wide_gain\""),
        "{error}"
    );
}

#[test]
fn a_variant_needs_the_sources_and_a_place_of_its_own() {
    let project = project();
    let root = project.path();
    let draft = Draft::parse(&with_variant()).unwrap();
    fs::write(root.join("src/model/variants/wide_gain.rs"), "mine").unwrap();
    let before = contents(root);
    let error = scaffold::write(root, &draft, "claude").unwrap_err();
    assert!(error.problem.contains("is there already"), "{error}");
    assert_eq!(contents(root), before);
    fs::remove_dir_all(root.join("src")).unwrap();
    let before = contents(root);
    let error = scaffold::write(root, &draft, "claude").unwrap_err();
    assert!(error.remedy.contains("windtunnel's sources"), "{error}");
    assert_eq!(contents(root), before);
}
