//! Paths that a proposal names stay inside the project: not absolute, not up and out by `..`, not out
//! by a link.
//!
//! A path is walked part by part as the system would walk it, links followed at once, and must be
//! inside after each. So `a/../../x` and a link to a folder outside are found where they leave, and what
//! lies outside is never opened. This is for whoever can name a path but can't make a link meanwhile.

use super::proposal::Proposal;
use crate::{
    error::{Error, Result},
    toml_file::leaves,
};
use std::{
    fs,
    path::{Component, Path, PathBuf},
};

/// The one key of a recipe whose value may be a path.
pub const TOKENIZER: &str = "data.tokenizer";
/// Tables of a study with values for recipes' keys, as seen from where the command runs and not from
/// the study's folder.
const FROM_THE_ROOT: [&str; 2] = ["ladder", "space"];

/// A path as seen from the project's folder, joined to it. Errors when it leads out of it.
pub fn inside(root: &Path, path: &Path) -> Result<PathBuf> {
    inside_from(root, root, ("path", path))
}

/// A path as seen from a folder of the project, joined to the project's folder; `key` is what names it.
/// Errors when it leads out of the project, or the folder does.
pub fn inside_from(root: &Path, folder: &Path, (key, path): (&str, &Path)) -> Result<PathBuf> {
    let refused = |why: &str| {
        Error::input(
            key,
            format!("{:?} {why}", path.display().to_string()),
            "give a path inside the project's folder, without links that lead out of it",
        )
    };
    let real = |path: &Path| fs::canonicalize(path).map_err(|e| Error::io(path, "find", &e));
    let real_root = real(root)?;
    let mut at = real(folder)?;
    if !at.starts_with(&real_root) {
        return Err(refused("is seen from a folder outside the project"));
    }
    if path.to_string_lossy().contains(['\\', '\0']) {
        return Err(refused("has a character that no path here needs"));
    }
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                at.pop();
            }
            Component::Normal(name) => {
                let next = at.join(name);
                at = match next.symlink_metadata() {
                    Ok(about) if about.is_symlink() => {
                        let there = fs::canonicalize(&next);
                        there.map_err(|_| refused("goes by a link that leads nowhere"))?
                    }
                    _ => next,
                };
            }
            Component::RootDir | Component::Prefix(_) => {
                return Err(refused("is an absolute path"));
            }
        }
        if !at.starts_with(&real_root) {
            return Err(refused("leads out of the project"));
        }
    }
    Ok(match at.strip_prefix(&real_root) {
        Ok(inner) if inner.as_os_str().is_empty() => root.into(),
        Ok(inner) => root.join(inner),
        Err(_) => at,
    })
}

/// Errors when a path that a study in `folder` names leads out of the project: its recipe, that recipe's
/// tokenizer, and every tokenizer that shared changes, arms, rungs or a space set. The error's place is
/// the key.
pub fn check_paths(root: &Path, folder: &Path, study: &Proposal) -> Result<()> {
    let base = inside_from(root, folder, ("base", Path::new(&study.base)))?;
    // A recipe that is not there, or is none, is for whoever reads it to refuse.
    let recipe = fs::read_to_string(&base)
        .ok()
        .and_then(|text| text.parse::<toml::Table>().ok());
    if let Some(recipe) = recipe {
        let folder = base.parent().unwrap_or(root);
        check_tokenizers((root, folder), &recipe, "base: ")?;
    }
    let Ok(study) = toml::Table::try_from(study) else {
        return Ok(());
    };
    for (key, value) in study {
        let table = toml::Table::from_iter([(key.clone(), value)]);
        check_tokenizers((root, folder), &table, "")?;
        if FROM_THE_ROOT.contains(&key.as_str()) {
            check_tokenizers((root, root), &table, "")?;
        }
    }
    Ok(())
}

/// The same for the changes that a recipe in `folder` is made by.
pub fn check_changes(root: &Path, folder: &Path, (key, set): (&str, &toml::Table)) -> Result<()> {
    check_tokenizers((root, folder), set, &format!("{key}: "))
}

/// Every tokenizer's path in a table, at any depth, in a list of choices too.
fn check_tokenizers(
    (root, folder): (&Path, &Path),
    table: &toml::Table,
    before: &str,
) -> Result<()> {
    for (path, value) in leaves(Vec::new(), table.clone().into()) {
        let key = path.join(".");
        if key != TOKENIZER && !key.ends_with(&format!(".{TOKENIZER}")) {
            continue;
        }
        let values = match &value {
            toml::Value::Array(choices) => choices.iter().collect(),
            one => vec![one],
        };
        for name in values.into_iter().filter_map(toml::Value::as_str) {
            inside_from(root, folder, (&format!("{before}{key}"), Path::new(name)))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    /// A project beside a secret, with a link to it, one to its folder, one that leads nowhere, and one
    /// that stays inside.
    fn project() -> (TempDir, PathBuf) {
        let outer = TempDir::new().unwrap();
        let root = outer.path().join("project");
        fs::create_dir_all(root.join("configs/studies")).unwrap();
        fs::create_dir_all(outer.path().join("elsewhere/deep")).unwrap();
        for file in [
            "project/recipe.toml",
            "project-secret.toml",
            "elsewhere/secret.toml",
        ] {
            fs::write(outer.path().join(file), "").unwrap();
        }
        let link = |to: &Path, name: &str| std::os::unix::fs::symlink(to, root.join(name)).unwrap();
        link(&outer.path().join("elsewhere/secret.toml"), "link.toml");
        link(&outer.path().join("elsewhere/deep"), "out");
        link(Path::new("nowhere"), "broken");
        link(Path::new("configs"), "alias");
        (outer, root)
    }

    #[test]
    fn what_leads_out_is_refused_with_its_key() {
        let (_outer, root) = project();
        let studies = root.join("configs/studies");
        for path in [
            "/etc/passwd",
            "../../../elsewhere/secret.toml",
            "../../../project-secret.toml",
            "../../../project/recipe.toml",
            "../../link.toml",
            "../../out/../secret.toml",
            "../../out/new.toml",
            "../../broken",
            "..\\..\\..\\x",
            "../../../../../../../../../../etc/passwd",
        ] {
            let error = inside_from(&root, &studies, ("base", Path::new(path))).unwrap_err();
            assert_eq!(
                (error.place.as_str(), error.exit_code()),
                ("base", 2),
                "{path}"
            );
        }
    }

    #[test]
    fn what_stays_inside_is_found_whether_it_is_there_or_not() {
        let (_outer, root) = project();
        let studies = root.join("configs/studies");
        for (path, found) in [
            ("../../recipe.toml", "recipe.toml"),
            ("./new/file.toml", "configs/studies/new/file.toml"),
            ("../../alias/studies/../x.toml", "configs/x.toml"),
            ("a/..", "configs/studies"),
        ] {
            let path = inside_from(&root, &studies, ("base", Path::new(path))).unwrap();
            assert_eq!(path, root.join(found));
        }
        assert_eq!(inside(&root, Path::new("")).unwrap(), root);
    }

    #[test]
    fn tokenizers_are_found_wherever_a_study_sets_them() {
        let (_outer, root) = project();
        let study = |lines: &str| {
            let text = format!(
                "name = \"x\"\nbase = \"recipe.toml\"\nhypothesis = {{ claim = \"c\" }}\n\
                 decision = {{ margin = 0.1, seeds = 2 }}\n{lines}"
            );
            toml::from_str::<Proposal>(&text).unwrap()
        };
        let out = "../elsewhere/secret.toml";
        for lines in [
            format!("set = {{ \"data.tokenizer\" = \"{out}\" }}"),
            format!("[set.data]\ntokenizer = \"{out}\""),
            format!("[arms.a]\nset = {{ data = {{ tokenizer = \"{out}\" }} }}"),
            format!("[arms.a.set]\n\"data.tokenizer\" = \"{out}\""),
            format!("[ladder]\n\"data.tokenizer\" = [\"byte\", \"{out}\"]"),
            format!("[space.vary]\n\"data.tokenizer\" = [\"char\", \"{out}\"]"),
            "set = { \"data.tokenizer\" = \"link.toml\" }".into(),
        ] {
            let error = check_paths(&root, &root, &study(&lines)).unwrap_err();
            assert!(error.place.ends_with("data.tokenizer"), "{lines}: {error}");
        }
        let fine = "set = { \"data.tokenizer\" = \"byte\" }\n[arms.a]\nset = { \"data.tokenizer\" = \"t.json\" }";
        check_paths(&root, &root, &study(fine)).unwrap();
        // The recipe's own, seen from its folder.
        fs::write(
            root.join("recipe.toml"),
            format!("[data]\ntokenizer = \"{out}\""),
        )
        .unwrap();
        let error = check_paths(&root, &root, &study("")).unwrap_err();
        assert_eq!(error.place, "base: data.tokenizer");
    }
}
